"""Deduplication of messages with Lamport times: a window of recent times, bounded in entries and bytes.

The rule of gossip-wire §8.4: too old is dropped, seen is dropped, the rest is new. Used for events and queries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from enum import Enum
from typing import Generic, TypeVar

from wgmesh_agent.gossip.serf.lamport import LamportClock, plausible

K = TypeVar("K", bound=Hashable)

WINDOW = 512
KEPT_SECONDS = 300.0
KEPT_LONGER = 64
"""Maximum number, however old: a mesh has few events and no more queries than that in a long time, unless it is
flooded."""


class Verdict(Enum):
    """Result for a message."""

    NEW = "new"
    SEEN = "seen"
    OLD = "too old"
    IMPLAUSIBLE = "from an impossible time"


class DedupWindow(Generic[K]):
    """Keys seen in the last 512 Lamport times, and after five minutes the last few of them.

    Above its bounds it removes the oldest entries first, and rejects their times.
    """

    def __init__(self, clock: LamportClock, max_entries: int, max_bytes: int) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._slots: dict[int, tuple[int, dict[K, int]]] = {}
        self._entries = 0
        self._bytes = 0
        self._earliest = 0
        self._times: deque[tuple[float, int]] = deque()

    def ignore_before(self, ltime: int) -> None:
        """Drops messages stamped before `ltime` from now on."""
        if plausible(ltime):
            self._earliest = max(self._earliest, ltime)

    def admit(self, ltime: int, key: K, size_bytes: int) -> Verdict:
        """Evaluates a message, records it if it is new, and advances the clock past it."""
        if not self._clock.believes(ltime):
            return Verdict.IMPLAUSIBLE
        self._clock.witness(ltime)
        present = self._clock.time
        if ltime < self._earliest or (present > WINDOW and ltime < present - WINDOW):
            return Verdict.OLD
        slot = self._slots.get(ltime % WINDOW)
        if slot is None or slot[0] != ltime:
            if slot is not None:
                self._discard(slot)
            slot = self._slots[ltime % WINDOW] = (ltime, {})
        elif key in slot[1]:
            return Verdict.SEEN
        slot[1][key] = size_bytes
        self._entries += 1
        self._bytes += size_bytes
        while self._entries > self._max_entries or self._bytes > self._max_bytes:
            self._forget_oldest()
        return Verdict.NEW

    def expire(self, now: float) -> bool:
        """Removes old entries except the newest; to be called every few seconds. Returns whether more are to be
        removed."""
        self._times.append((now, self._clock.time))
        before = 0
        while now - self._times[0][0] >= KEPT_SECONDS:
            before = self._times.popleft()[1]
        for slot in sorted(self._slots.values(), key=lambda slot: slot[0]):
            if slot[0] >= before or self._entries <= KEPT_LONGER:
                break
            self._forget(slot)
        return self._entries > KEPT_LONGER

    def entries(self) -> Iterator[tuple[int, tuple[K, ...]]]:
        """Recorded entries, by ascending Lamport time."""
        for ltime, keys in sorted(self._slots.values(), key=lambda slot: slot[0]):
            yield ltime, tuple(keys)

    def _forget_oldest(self) -> None:
        self._forget(min(self._slots.values(), key=lambda slot: slot[0]))

    def _forget(self, slot: tuple[int, dict[K, int]]) -> None:
        self._discard(slot)
        del self._slots[slot[0] % WINDOW]
        self._earliest = max(self._earliest, slot[0] + 1)

    def _discard(self, slot: tuple[int, dict[K, int]]) -> None:
        self._entries -= len(slot[1])
        self._bytes -= sum(slot[1].values())
