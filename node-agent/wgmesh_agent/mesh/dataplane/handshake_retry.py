"""Retries the first handshake of new peers sooner than WireGuard does.

Two nodes that discover each other each trigger a handshake. If both initiations are under way at once, each side
responds to the other's and discards its own: neither handshake completes, and both sides retry five seconds later,
again at nearly the same time (measured with 100 ms one way: 5.4 to 11.8 s). A lost initiation costs five seconds too.
WireGuard sends no second initiation earlier, but a re-created peer may start at once; without a handshake it loses
nothing.

A machine that boots has its addresses before its routes, and packets sent in between are lost. Therefore peers are also
re-created when packets to them start to leave from another address, or start to leave at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wgmesh_agent.runtime.backoff import Backoff
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Address, Device

BACKOFF = Backoff(first_seconds=0.6)
MAX_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class _Wait:
    deadline: float
    pause: float
    attempts_left: int


class HandshakeRetry:
    """Which peers to re-create, and when. Of two nodes only the one with the lower key does it: otherwise initiations
    would cross again.
    """

    def __init__(self, own: PublicKey) -> None:
        self._own = own
        self._waits: dict[PublicKey, _Wait] = {}
        self._sources: dict[PublicKey, Address | None] = {}

    def peer_created(self, keys: Iterable[PublicKey], now: float) -> None:
        """These peers were created or re-created at `now` (monotonic seconds)."""
        for key in keys:
            if self._own < key and key not in self._waits:
                pause = BACKOFF.first_seconds
                self._waits[key] = _Wait(now + pause, pause, MAX_ATTEMPTS)

    def silent(self) -> frozenset[PublicKey]:
        """Peers without a handshake, among those reported to `leave_from`."""
        return frozenset(self._sources)

    def leave_from(self, sources: Mapping[PublicKey, Address | None]) -> None:
        """Sets the local addresses from which packets to new peers leave; None: there is no route."""
        self._sources.update(sources)

    def rerouted(self, sources: Mapping[PublicKey, Address | None], now: float) -> bool:
        """Sets the current local addresses. Returns whether a peer without a handshake is to be re-created because of
        them.

        Of two nodes that boot at once, the one with the higher key does it later.
        """
        changed = {
            key
            for key, source in sources.items()
            if source is not None and key in self._sources and self._sources[key] != source
        }
        for key in changed:
            is_first = self._own < key
            pause = BACKOFF.first_seconds
            deadline = now if is_first else now + pause
            self._waits[key] = _Wait(deadline, pause, MAX_ATTEMPTS if is_first else 1)
        self._sources.update({key: sources[key] for key in sources if key in self._sources})
        return bool(changed)

    def next_deadline(self) -> float | None:
        """When to call `due` next; None: nothing to wait for."""
        return min((wait.deadline for wait in self._waits.values() if wait.attempts_left), default=None)

    def due(self, device: Device, now: float) -> frozenset[PublicKey]:
        """Peers of `device` without a handshake whose time is up: to be removed and re-created now.

        The pause doubles with each attempt; after five attempts WireGuard's own retries remain.
        """
        due = set()
        for key in list(self._sources):
            peer = device.peers.get(key)
            if peer is None or peer.last_handshake:
                del self._sources[key]
        for key, wait in list(self._waits.items()):
            peer = device.peers.get(key)
            if peer is None or peer.last_handshake:
                del self._waits[key]
            elif wait.attempts_left and wait.deadline <= now:
                due.add(key)
                pause = BACKOFF.longer(wait.pause)
                self._waits[key] = _Wait(now + pause, pause, wait.attempts_left - 1)
        return frozenset(due)
