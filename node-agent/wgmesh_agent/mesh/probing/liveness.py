"""Liveness probe, one way: a link from A to B is up while B receives A's probes (compare BFD, RFC 5880).

Each member sends every peer a small datagram from time to time, which contains its own period and whether it receives
from that peer. Therefore each end knows both directions of its links, at two datagrams a second per node whatever the
size of the mesh, and at twenty while it joins many peers at once. A wake-up costs more than a packet: probes due soon
are sent with those due now, and a received probe is answered with the one that is due within half a period.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from wgmesh_agent.wireguard.model import IPAddress

PROBES_PER_SECOND = 2.0
MAX_PROBES_PER_SECOND = 20.0
MIN_PERIOD_SECONDS = 2.0
DETECT_MULTIPLIER = 3
FIRST_SPREAD_SECONDS = 0.5
MIN_REPLY_INTERVAL_SECONDS = 1.0
COALESCE_SECONDS, COALESCE_SHARE = 2.0, 0.1
"""Share of the period: probes due within it are sent together with those due now, and none is sent earlier than that.
"""
REPLY_WITHIN_SHARE = 0.5
"""Share of the period: a received probe is answered with this node's own if that is due within it."""

_PROBE = struct.Struct("!4sBIH")
_MAGIC = b"wgp1"
_HEARS_YOU, _ANSWER, _LEAVES = 1, 2, 4
"""Flags. A receiver ignores those it does not know."""
_MAX_PERIOD_DECISECONDS = 0xFFFF


@dataclass(frozen=True, slots=True)
class LinkState:
    """Liveness of one peer.

    Attributes:
        last_received_seconds_ago: None: never.
        heard: whether its probes arrive at the period that they state.
        peer_receiving: whether its last probe reported receiving from this node; None while the link is down.
    """

    last_received_seconds_ago: float | None
    receiving: bool
    peer_receiving: bool | None


@dataclass(slots=True)
class _Peer:
    name: str
    next_probe: float
    sequence: int = 0
    last_received: float | None = None
    their_period: float = MIN_PERIOD_SECONDS
    peer_receiving: bool = False
    wants_reply: bool = False
    last_reply: float | None = None
    invalidated: bool = False
    leaves: bool = False
    last_probe: float | None = None

    def is_receiving(self, now: float) -> bool:
        patience = DETECT_MULTIPLIER * self.their_period
        return (
            not self.invalidated and self.last_received is not None and now - self.last_received <= patience
        )


class LivenessProber:
    """Schedules probes and evaluates received ones; `now` is monotonic seconds."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._peers: dict[IPAddress, _Peer] = {}
        self._may_send = MAX_PROBES_PER_SECOND
        self._counted = 0.0
        self._leaving = False

    @property
    def period_seconds(self) -> float:
        """Period of the probes to each peer: two seconds, or longer so that the node sends two probes a second in
        total.
        """
        return max(MIN_PERIOD_SECONDS, len(self._peers) / PROBES_PER_SECOND)

    def set_peers(self, names: Mapping[IPAddress, str], now: float) -> None:
        """Sets the current peers, by mesh address; new ones are probed within half a second."""
        for address in self._peers.keys() - names.keys():
            del self._peers[address]
        for address, name in names.items():
            known = self._peers.get(address)
            if known is None or known.name != name:
                first = now + self._rng.uniform(0, min(FIRST_SPREAD_SECONDS, self.period_seconds))
                self._peers[address] = _Peer(name, first)

    def on_change(self, address: IPAddress, now: float, *, failed: bool) -> None:
        """Gossip reports the peer failed, or alive again: it is probed soon, and earlier probes of a failed one no
        longer count. In a large mesh its own next probe is far away.
        """
        peer = self._peers.get(address)
        if peer is not None:
            peer.invalidated = peer.invalidated or failed
            if not peer.is_receiving(now):
                peer.next_probe = min(peer.next_probe, now)

    def due(self, now: float) -> list[tuple[IPAddress, bytes]]:
        """The probes to send now, each with its destination."""
        found = []
        period = self.period_seconds
        self._may_send = min(
            MAX_PROBES_PER_SECOND, self._may_send + (now - self._counted) * MAX_PROBES_PER_SECOND
        )
        self._counted = now
        until = now
        if any(peer.next_probe <= now for peer in self._peers.values()):
            until += min(COALESCE_SECONDS, COALESCE_SHARE * period)
        for address, peer in self._peers.items():
            if peer.next_probe > until:
                continue
            if self._may_send < 1.0:
                break
            self._may_send -= 1.0
            # After the first one anywhere in the period: peers found at the same time must not be probed at the same
            # time ever after.
            least = 0.9 if peer.last_probe is not None else 0.1
            found.append((address, self._probe(peer, now)))
            peer.next_probe = now + period * self._rng.uniform(least, 1.1)
        return found

    def probe_now(self, address: IPAddress, now: float) -> None:
        """Probes the peer at once, and requests an immediate answer: in a large mesh its own next probe is far away."""
        peer = self._peers.get(address)
        if peer is not None:
            peer.wants_reply, peer.next_probe = True, now

    def leave(self, now: float) -> None:
        """This node leaves the mesh: all peers are probed soon, and every probe reports it."""
        self._leaving = True
        for peer in self._peers.values():
            peer.next_probe = min(peer.next_probe, now)

    def answer(self, source: IPAddress, payload: bytes, now: float) -> bytes | None:
        """The probe to send back to a `received` one, if that requests it or this node's is due soon; at most one a
        second.
        """
        peer, period = self._peers.get(source), self.period_seconds
        if peer is None:
            return None
        soon = now + REPLY_WITHIN_SHARE * period
        if peer.next_probe > soon and not _PROBE.unpack(payload)[1] & _ANSWER:
            return None
        if peer.last_reply is not None and now - peer.last_reply < MIN_REPLY_INTERVAL_SECONDS:
            return None
        peer.last_reply = now
        peer.next_probe = now + period * self._rng.uniform(0.9, 1.1)
        return self._probe(peer, now)

    def _probe(self, peer: _Peer, now: float) -> bytes:
        peer.sequence = (peer.sequence + 1) & 0xFFFFFFFF
        flags = (_HEARS_YOU if peer.is_receiving(now) else 0) | (_ANSWER if peer.wants_reply else 0)
        flags |= _LEAVES if self._leaving else 0
        peer.wants_reply, peer.last_probe = False, now
        deciseconds = min(_MAX_PERIOD_DECISECONDS, round(self.period_seconds * 10))
        return _PROBE.pack(_MAGIC, flags, peer.sequence, deciseconds)

    def next_due(self) -> float | None:
        """When `due` has a probe again; None without peers."""
        due = min((peer.next_probe for peer in self._peers.values()), default=None)
        return (
            due if due is None else max(due, self._counted + (1.0 - self._may_send) / MAX_PROBES_PER_SECOND)
        )

    def received(self, source: IPAddress, payload: bytes, now: float) -> bool:
        """Processes a datagram. Returns False if it is not a probe of a peer. WireGuard authenticates the source
        address.
        """
        peer = self._peers.get(source)
        if peer is None or len(payload) != _PROBE.size:
            return False
        magic, flags, _, deciseconds = _PROBE.unpack(payload)
        if magic != _MAGIC:
            return False
        lately = peer.last_probe is not None and now - peer.last_probe < MIN_PERIOD_SECONDS
        if not peer.is_receiving(now) or not (flags & _HEARS_YOU or lately):
            # The peer learns of this node at once, not after a whole period: both ends of a new or repaired link agree
            # sooner.
            peer.next_probe = min(peer.next_probe, now)
        peer.last_received, peer.invalidated = now, False
        peer.their_period = max(MIN_PERIOD_SECONDS, deciseconds / 10)
        peer.peer_receiving, peer.leaves = bool(flags & _HEARS_YOU), bool(flags & _LEAVES)
        return True

    def is_receiving_from(self, address: IPAddress, now: float) -> bool:
        """Whether the link from this mesh address is up."""
        peer = self._peers.get(address)
        return peer is not None and peer.is_receiving(now)

    def leaves(self, address: IPAddress) -> bool:
        """Whether the last probe of this mesh address reported that the peer leaves the mesh."""
        peer = self._peers.get(address)
        return peer is not None and peer.leaves

    def links(self, now: float) -> dict[str, LinkState]:
        """All peers by name."""
        return {
            peer.name: LinkState(
                None if peer.last_received is None else now - peer.last_received,
                heard := peer.is_receiving(now),
                peer.peer_receiving if heard else None,
            )
            for peer in self._peers.values()
        }
