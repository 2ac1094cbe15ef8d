"""Rate limit for repairs of foreign changes: immediate at first, with backoff if they are undone repeatedly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from wgmesh_agent.runtime.backoff import Backoff
from wgmesh_agent.wireguard.model import Device
from wgmesh_api.text import shortened

log = structlog.get_logger()
BACKOFF = Backoff(first_seconds=1.0, longest_seconds=60.0)
AGAIN_SECONDS = 30.0
"""A repair counts as undone if the same change is found again within this time after the pause."""
OFTEN, MANY = 3, 5
"""Repairs undone in a row after which the pause grows, and the last one is logged."""
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class _Undone:
    times: int
    at: float


class Repairs:
    """Rate limit and count of repairs. Times are monotonic seconds. Pure but for the log.

    Attributes:
        made: number of repairs.
    """

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self.made = 0
        self._pause = 0.0
        self._last = float("-inf")
        self._found: dict[str, _Undone] = {}

    def due(self, now: float) -> float:
        """Seconds by which to delay the next read to keep the rate limit of repairs."""
        return max(0.0, self._last + self._pause - now)

    def note(self, what: Sequence[str], now: float) -> None:
        """Records a change, in words, that was found and repaired."""
        if not what:
            return
        self.made += 1
        self._forget(now)
        for one in what:
            before = self._found.get(one)
            self._found[one] = _Undone(before.times + 1 if before else 1, now)
        most = max(self._found[one].times for one in what)
        self._pause = BACKOFF.seconds(max(1, most - OFTEN + 1))
        self._last = now
        if most < MANY:
            log.warning(
                "interface changed by another program, repaired",
                interface=self._interface,
                found=_words(what),
            )
        elif most == MANY:
            log.error(
                "interface repairs are undone repeatedly",
                interface=self._interface,
                found=_words(what),
                next="find the program that does it, usually a network manager; repairing less often",
            )

    def _forget(self, now: float) -> None:
        self._found = {
            one: undone
            for one, undone in self._found.items()
            if now - undone.at <= AGAIN_SECONDS + self._pause
        }

    def undone(self, now: float) -> str:
        """The change that is undone repeatedly; empty if there is none."""
        self._forget(now)
        return _words([one for one, undone in self._found.items() if undone.times >= MANY])


def _words(what: Sequence[str]) -> str:
    return shortened(what, _SHOWN, separator="; ")


def changed_by_others(before: Device, now: Device) -> list[str]:
    """How the device differs from the state that this program left, in words. Endpoints are excluded: WireGuard changes
    them.
    """
    found = []
    if now.public_key != before.public_key:
        found.append(f"it had {'another' if now.public_key else 'no'} private key")
    if now.listen_port != before.listen_port:
        found.append(f"its port was {now.listen_port}")
    for key, peer in before.peers.items():
        other = now.peers.get(key)
        if other is None:
            found.append(f"the peer {key} was missing")
        elif other.allowed_ips != peer.allowed_ips:
            found.append(f"the peer {key} had other allowed IPs")
        elif other.preshared_key != peer.preshared_key:
            found.append(f"the peer {key} had another pre-shared key")
    found += [f"it had the peer {key}" for key in now.peers.keys() - before.peers.keys()]
    return found
