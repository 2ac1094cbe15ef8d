"""Concurrent callers share one run.

Unlike Go's singleflight, a caller gets only the result of a run that began after its call: the result then contains
what the caller had changed before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs one after the other, each for all callers that waited when it began."""

    def __init__(self, lock: asyncio.Lock | None = None) -> None:
        """Args:
        lock: held during each run; provided by the caller if other work excludes runs, too."""
        self._lock = lock or asyncio.Lock()
        self._requests = 0
        self._served: tuple[int, T] | None = None

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Returns the result of the first successful run that began after the call: of `work`, or of another
        caller's.

        Exceptions of `work` are raised to its own caller only: waiting callers then run their own.
        """
        self._requests += 1
        request = self._requests
        async with self._lock:
            if self._served is not None and self._served[0] >= request:
                return self._served[1]
            covered = self._requests
            result = await work()
            self._served = covered, result
            return result
