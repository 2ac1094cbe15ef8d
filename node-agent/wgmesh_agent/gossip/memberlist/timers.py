"""Deadlines of a sans-IO core: a heap of callbacks that the shell drives with its clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from wgmesh_agent.runtime.borders import border

TIMERS = border("gossip timer", "what gossip does when a deadline has passed")

Callback = Callable[[float], None]


class Timer:
    """One pending deadline; `cancel` it or let it fire once."""

    __slots__ = ("_owner", "callback", "deadline")

    def __init__(self, deadline: float, callback: Callback, owner: Timers) -> None:
        self.deadline = deadline
        self.callback: Callback | None = callback
        self._owner = owner

    def cancel(self) -> None:
        """Drops the callback; harmless after it fired."""
        if self.callback is not None:
            self.callback = None
            self._owner.note_cancelled()


class Timers:
    """Callbacks ordered by deadline, then by the order in which they were set."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._cancelled = 0

    def at(self, deadline: float, callback: Callback) -> Timer:
        """Runs `callback(now)` once at or after `deadline` (monotonic seconds)."""
        timer = Timer(deadline, callback, self)
        self._count += 1
        heapq.heappush(self._heap, (deadline, self._count, timer))
        return timer

    def next_deadline(self) -> float | None:
        """The earliest pending deadline."""
        heap = self._heap
        while heap and heap[0][2].callback is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else None

    def run_due(self, now: float) -> None:
        """Runs callbacks due at `now`, including those that they set for `now` or before."""
        while True:
            deadline = self.next_deadline()
            if deadline is None or deadline > now:
                return
            timer = heapq.heappop(self._heap)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                with TIMERS.fence(getattr(callback, "__qualname__", "")):
                    callback(now)

    def note_cancelled(self) -> None:
        """Called by a timer; rebuilds the heap once most of it is cancelled."""
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0
