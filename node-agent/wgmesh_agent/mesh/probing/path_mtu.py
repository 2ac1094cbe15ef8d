"""Path MTU discovery through the tunnel: padded probes, and a search for the largest size that is answered.

A path may have a lower MTU than this machine's own network, and no router may report it: larger packets are then lost
silently. Therefore a peer is sent a probe of full size when its link is new, after changes, and periodically. If it
is not answered, bisection finds the size that passes. Sizes are those of complete IP packets inside the tunnel.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wgmesh_agent.mesh.probing.padded_probe import decode_reply, encode_probe, encode_reply
from wgmesh_agent.runtime.backoff import Backoff
from wgmesh_agent.wireguard.model import IPAddress

MIN_PLPMTU_BYTES = 576
"""Lower bound of the search (RFC 791): a path with a lower MTU is not usable."""
STEP_BYTES = 16
"""WireGuard pads its payload to a multiple of this, so sizes in between have the same size outside."""
MIN_PROBE_INTERVAL_SECONDS = 0.25
"""Minimum interval between two probes of a node, over all peers."""
MAX_PROBES = 5
SEARCH_INTERVAL = Backoff(first_seconds=60.0, longest_seconds=600.0)
"""Interval after which a path that was found reduced, or silent, is searched again."""
RAISE_TIMER_SECONDS = 120.0
SECONDS_A_PEER = 1.0
"""A path with full MTU is tested again after RAISE_TIMER_SECONDS, or after one second per peer if that is longer."""
NOT_READY_SECONDS = 2.0
NOT_READY_PER_SECOND = 50.0
"""Peers whose links are down are tested again after the first, or at an interval that limits them to so many a second.
"""

_REMEMBERED = 8

Ceiling = Callable[[IPAddress], int | None]
"""Largest size that this machine can send to a peer; None: not worth trying now."""


@dataclass(frozen=True, slots=True)
class PathMTU:
    """Path MTU to a peer: `mtu` in bytes, None while unknown. `full` is the interface MTU."""

    mtu: int | None
    interface_mtu: int

    @property
    def is_reduced(self) -> bool:
        """Whether the path MTU is below the interface MTU; a difference within the padding does not count."""
        return self.mtu is not None and self.mtu < round_down(self.interface_mtu)


@dataclass(slots=True)
class _Peer:
    name: str
    due: float = 0.0
    pause: float = SEARCH_INTERVAL.first_seconds
    mtu: int | None = None
    searching: bool = False
    ceiling: int = 0
    largest_acked: int = 0
    """The largest size that was answered in this search."""
    smallest_lost: int | None = None
    """The smallest size that was lost."""
    confirming: bool = False
    """A lost size is tried once more before it counts as lost: a peer that stalls answers nothing."""
    size: int = 0
    tries: int = 0
    sent: dict[int, int] = field(default_factory=dict)
    """Sequence number to size, of the last few probes."""


class PathMTUDiscovery:
    """Schedules padded probes, and keeps the path MTUs found; `now` is monotonic seconds."""

    def __init__(self, full: int, rng: random.Random) -> None:
        """`full` is the interface's MTU in bytes."""
        self._full = full
        self._rng = rng
        self._peers: dict[IPAddress, _Peer] = {}
        self._reduced: dict[IPAddress, int] = {}
        self._turns: list[tuple[float, int, IPAddress]] = []
        """A heap of due times; entries that a peer's `due` does not confirm are obsolete."""
        self._sequence = 0
        self._free_at = 0.0

    def set_peers(self, names: Mapping[IPAddress, str], now: float) -> None:
        """Sets the current peers, by mesh address; new ones are tested as soon as the rate limit allows."""
        for address in self._peers.keys() - names.keys():
            del self._peers[address]
            self._reduced.pop(address, None)
        for address, name in names.items():
            known = self._peers.get(address)
            if known is None or known.name != name:
                self._peers[address] = _Peer(name)
                self._reduced.pop(address, None)
                self._wait(address, now)

    def path_changed(self, address: IPAddress, now: float) -> None:
        """The route to this peer has changed: the known path MTU counts until it is found again, at once."""
        peer = self._peers.get(address)
        if peer is not None:
            peer.searching, peer.pause = False, SEARCH_INTERVAL.first_seconds
            peer.sent.clear()
            self._wait(address, now)

    def due(self, now: float, ceiling: Ceiling) -> tuple[IPAddress, bytes] | None:
        """The probe to send now, if one is due."""
        while now >= self._free_at and (first := self._first()) is not None and first[0] <= now:
            address = first[1]
            peer = self._peers[address]
            if self._next_probe(address, peer, ceiling(address), now):
                self._free_at = now + MIN_PROBE_INTERVAL_SECONDS
                return address, self._send_probe(address, peer, now)
        return None

    def next_due(self) -> float | None:
        """When `due` has a probe again; None without peers."""
        first = self._first()
        return None if first is None else max(first[0], self._free_at)

    def received(self, source: IPAddress, payload: bytes, now: float) -> bytes | None:
        """Processes a datagram of a peer. Returns the answer to send. WireGuard authenticates the source address."""
        peer = self._peers.get(source)
        if peer is None:
            return None
        match decode_reply(payload):
            case (number, size) if peer.sent.get(number) == size:
                self._on_reply(source, peer, size, now)
        return encode_reply(payload, source.version)

    def paths(self) -> dict[str, PathMTU]:
        """All peers by name."""
        return {peer.name: PathMTU(peer.mtu, self._full) for peer in self._peers.values()}

    def addresses(self) -> list[IPAddress]:
        """Those of all peers."""
        return list(self._peers)

    def reduced(self) -> Mapping[IPAddress, int]:
        """The peers with a reduced path MTU, and its current value."""
        return self._reduced

    def _found(self, address: IPAddress, peer: _Peer, mtu: int) -> None:
        peer.mtu = mtu
        if PathMTU(mtu, self._full).is_reduced:
            self._reduced[address] = mtu
        else:
            self._reduced.pop(address, None)

    def _first(self) -> tuple[float, IPAddress] | None:
        while self._turns:
            due, _, address = self._turns[0]
            peer = self._peers.get(address)
            if peer is not None and peer.due == due:
                return due, address
            heapq.heappop(self._turns)
        return None

    def _wait(self, address: IPAddress, due: float) -> None:
        self._peers[address].due = due
        heapq.heappush(self._turns, (due, int(address), address))

    def _next_probe(self, address: IPAddress, peer: _Peer, ceiling: int | None, now: float) -> bool:
        """Whether a probe can be sent to the peer now; otherwise it waits for its next time."""
        if ceiling is None:
            peer.searching, peer.pause = False, SEARCH_INTERVAL.first_seconds
            self._wait(address, now + max(NOT_READY_SECONDS, len(self._peers) / NOT_READY_PER_SECOND))
            return False
        ceiling = (
            self._full
            if ceiling >= self._full
            else min(self._full, max(MIN_PLPMTU_BYTES, round_down(ceiling)))
        )
        if not peer.searching or peer.ceiling != ceiling:
            peer.searching, peer.ceiling = True, ceiling
            peer.largest_acked, peer.smallest_lost, peer.confirming, peer.tries = 0, None, False, 0
            peer.size = peer.mtu if peer.mtu is not None and peer.mtu < ceiling else ceiling
        if peer.tries < MAX_PROBES:
            return True
        peer.smallest_lost = peer.size
        return self._next_size(address, peer, now)

    def _next_size(self, address: IPAddress, peer: _Peer, now: float) -> bool:
        """Selects the size to try next; False if the search is over."""
        size = _next_probe_size(peer)
        if (
            size is None
            and peer.largest_acked
            and peer.smallest_lost
            and peer.largest_acked != peer.mtu
            and not peer.confirming
        ):
            size, peer.confirming = peer.smallest_lost, True
        if size is None:
            self._search_complete(address, peer, now)
            return False
        peer.size, peer.tries = size, 0
        return True

    def _search_complete(self, address: IPAddress, peer: _Peer, now: float) -> None:
        peer.searching = False
        if peer.largest_acked:
            self._found(address, peer, peer.largest_acked)
        if peer.largest_acked == self._full:
            peer.pause = SEARCH_INTERVAL.first_seconds
            pause = max(RAISE_TIMER_SECONDS, SECONDS_A_PEER * len(self._peers))
        else:
            pause, peer.pause = peer.pause, SEARCH_INTERVAL.longer(peer.pause)
        self._wait(address, now + pause * self._rng.uniform(0.9, 1.1))

    def _on_reply(self, address: IPAddress, peer: _Peer, size: int, now: float) -> None:
        if not peer.searching:
            # An answer after the size was given up: it passes nevertheless.
            self._found(address, peer, max(size, peer.mtu or 0))
            return
        peer.largest_acked = max(peer.largest_acked, size)
        if peer.smallest_lost is not None and peer.smallest_lost <= peer.largest_acked:
            peer.smallest_lost = None
        if peer.size <= peer.largest_acked and self._next_size(address, peer, now):
            self._wait(address, now)

    def _send_probe(self, address: IPAddress, peer: _Peer, now: float) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        peer.tries += 1
        self._wait(address, now + MIN_PROBE_INTERVAL_SECONDS)
        peer.sent[self._sequence] = peer.size
        if len(peer.sent) > _REMEMBERED:
            del peer.sent[next(iter(peer.sent))]
        return encode_probe(self._sequence, peer.size, address.version)


def round_down(size: int) -> int:
    """The largest size not above it that needs no padding."""
    return size // STEP_BYTES * STEP_BYTES


def _next_probe_size(peer: _Peer) -> int | None:
    """The size to try next, given what passed and what was lost; None when the search is over."""
    if peer.largest_acked >= peer.ceiling:
        return None
    if not peer.largest_acked:
        return (
            MIN_PLPMTU_BYTES if peer.smallest_lost is None or peer.smallest_lost > MIN_PLPMTU_BYTES else None
        )
    if peer.smallest_lost is None:
        return peer.ceiling
    above = round_down(peer.largest_acked) + STEP_BYTES
    # The previous path MTU is the most likely one.
    size = (
        above
        if peer.largest_acked == peer.mtu
        else max(above, round_down((peer.largest_acked + peer.smallest_lost) // 2))
    )
    return size if size < peer.smallest_lost else None
