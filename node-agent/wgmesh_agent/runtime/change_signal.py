"""Something changed: told to whoever waits, without a queue to overflow."""

from __future__ import annotations

import asyncio


class Signal:
    """A counter that can be waited on; many changes while nobody looks are one."""

    def __init__(self, *notified: Signal) -> None:
        """`notified`: other signals that every change of this one is a change of, too."""
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
        """Waits for a change later than `generation`; False if the time ran out."""
        if self.generation != generation:
            return True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._bumped.wait()
        except TimeoutError:
            return False
        return True
