"""Change notification for any number of waiters, without a queue that could overflow."""

from __future__ import annotations

import asyncio


class Signal:
    """A counter to wait on; several changes between two waits count as one."""

    def __init__(self, *notified: Signal) -> None:
        """`notified`: other signals that are also triggered by every change of this one."""
        self._notified = notified
        self.generation = 0
        self._bumped = asyncio.Event()

    def notify(self) -> None:
        self.generation += 1
        self._bumped.set()
        self._bumped = asyncio.Event()
        for signal in self._notified:
            signal.notify()

    async def wait_after(self, generation: int, timeout_seconds: float | None = None) -> bool:
        """Waits for a change later than `generation`; False on timeout."""
        if self.generation != generation:
            return True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._bumped.wait()
        except TimeoutError:
            return False
        return True
