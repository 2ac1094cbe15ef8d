"""Observes virtual machines from outside: whether the promises hold, whether pings are answered, what is missing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.chaos.invariants import Broken, Record, ghosts, shared_addresses, wrong_peers
from tests.chaos.machine import Machine
from tests.chaos.underlay import Underlay

from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.wireguard.errors import InterfaceGoneError

GRACE_SECONDS = 15.0
"""After which pings must be answered again where nothing is in the way."""
ANSWER_SECONDS = 5.0
PINGS_SPREAD_SECONDS = 0.4
SET_BACK_SECONDS = 20.0
"""How long a link may be silent of which an end had its clock set back, from its last answer on."""


@dataclass(slots=True)
class _Ping:
    source: str
    target: str
    sent: float


class Onlooker:
    """Of one world, in virtual seconds."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        underlay: Underlay,
        loop: asyncio.AbstractEventLoop,
        rng: random.Random,
    ) -> None:
        self.record = Record()
        self.broken: list[str] = []
        self.pings = 0
        self.looks = 0
        self._machines = machines
        self._underlay = underlay
        self._loop = loop
        self._now = loop.time
        self._rng = rng
        self._met: dict[tuple[str, str], tuple[int, object]] = {}
        self._clear: dict[tuple[str, str], float] = {}
        self._pings: dict[int, _Ping] = {}
        self._heard: dict[tuple[str, str], float] = {}
        self._turn = 0

    def look(self) -> None:
        """One check of everything. Raises Broken."""
        self.looks += 1
        for machine in self._machines.values():
            self.look_at(machine)
            self._look_for_lost(machine)
        living = [name for name, machine in self._machines.items() if machine.session is not None]
        self.broken += shared_addresses(self.record.current, living)
        self._note_met()
        self.note_clear()
        self._judge_pings()
        self._send_pings()
        if self.broken:
            raise Broken(f"at {self._now():.1f} s: " + "; ".join(dict.fromkeys(self.broken[:8])))

    def look_at(self, machine: Machine) -> None:
        """What must hold at any moment on one machine."""
        if machine.tunnel.is_up:
            self.broken += wrong_peers(machine.name, machine.tunnel.read(), self.record)

    def _look_for_lost(self, machine: Machine) -> None:
        if not machine.tunnel.is_up:
            return
        device = machine.tunnel.read()
        for (here, there), (boots, key) in self._met.items():
            if here == machine.name and boots == machine.boots and self.record.keys[there] == key:
                peer = device.peers.get(self.record.keys[there])
                if peer is None or peer.endpoint is None:
                    self.broken.append(f"{here} lost its peer {there}")

    def _note_met(self) -> None:
        for here, machine in self._machines.items():
            if not machine.tunnel.is_up:
                continue
            for there in self._machines:
                key = self.record.keys.get(there)
                if key is not None and machine.tunnel.has_shaken_hands(key):
                    self._met[here, there] = machine.boots, key

    def _is_met(self, here: str, there: str) -> bool:
        return self._met.get((here, there)) == (self._machines[here].boots, self.record.keys.get(there))

    def note_clear(self) -> None:
        """Records between which machines no fault is active; notified of every change."""
        calm = self._underlay.weather.loss == 0.0
        up = [name for name, machine in self._machines.items() if machine.tunnel.is_up]
        clear = {
            (a, b)
            for a in up
            for b in up
            if a != b
            and calm
            and self._underlay.passes(a, b)
            and self._underlay.passes(b, a)
            and self._is_met(a, b)
            and self._is_met(b, a)
        }
        for pair in self._clear.keys() - clear:
            del self._clear[pair]
        for pair in clear - self._clear.keys():
            self._clear[pair] = self._now()

    def _send_pings(self) -> None:
        """Each machine pings one other, in turn, and no two at the same time: both ends of a tunnel without a session
        would start handshakes in step indefinitely, and those that cross invalidate each other.
        """
        names = list(self._machines)
        self._turn = self._turn % (len(names) - 1) + 1
        for position, name in enumerate(names):
            target = names[(position + self._turn) % len(names)]
            self._loop.call_later(self._rng.random() * PINGS_SPREAD_SECONDS, self._ping, name, target)

    def _ping(self, name: str, target: str) -> None:
        if target in self.record.current and self._machines[name].tunnel.is_up:
            self.note_clear()
            self.pings += 1
            self._pings[self.pings] = _Ping(name, target, self._now())
            self._machines[name].ping(self.record.current[target][0], self.pings)

    def _judge_pings(self) -> None:
        now = self._now()
        for number, ping in list(self._pings.items()):
            answered = self._machines[ping.source].answered
            if number in answered:
                answered.discard(number)
                del self._pings[number]
                self._heard[ping.source, ping.target] = ping.sent
            elif now - ping.sent > ANSWER_SECONDS:
                del self._pings[number]
                since = self._clear.get((ping.source, ping.target))
                if since is None or since > ping.sent - GRACE_SECONDS:
                    continue
                if self._is_one_set_back(ping.source, ping.target):
                    # It cannot renew the session, which expires: until the other end sends, or both have re-created
                    # each other.
                    since = max(since, self._heard.get((ping.source, ping.target), since) + SET_BACK_SECONDS)
                if since <= ping.sent:
                    self.broken.append(
                        f"a ping from {ping.source} to {ping.target} at {ping.sent:.1f} s was lost, "
                        f"though nothing had been in its way since {since:.1f} s"
                    )

    def _is_one_set_back(self, *names: str) -> bool:
        return any(self._machines[name].clock_offset < 0 for name in names)

    def missing(self) -> list[str]:
        """What lacks for a full mesh, a line each."""
        return list(self._missing_of_all())

    def _missing_of_all(self) -> Iterator[str]:
        for here, machine in self._machines.items():
            session = machine.session
            if session is None:
                yield f"no agent on {here}"
                continue
            members = session.node.gossip.members()
            try:
                device = machine.tunnel.read()
            except InterfaceGoneError:
                yield f"no interface on {here}"
                continue
            yield from ghosts(here, device, self.record)
            for there in self._machines:
                if there == here:
                    continue
                member, key = members.get(there), self.record.keys.get(there)
                if member is None or member.status is not MemberStatus.ALIVE:
                    yield f"{here} has {there} as {member.status.name.lower() if member else 'unknown'}"
                elif key is None or key not in device.peers:
                    yield f"{here} has no peer for {there}"
                elif not self._hears(machine, there):
                    yield f"{here} does not hear {there}"

    def _hears(self, machine: Machine, there: str) -> bool:
        session = machine.session
        link = session.node.probing.links().get(there) if session is not None else None
        return link is not None and link.receiving
