"""Clocks, passed to all components that measure time or wait."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Times of day are in UTC, all others in seconds."""

    def monotonic(self) -> float:
        """Time since an arbitrary moment; it is never set back."""
        ...

    def thread_time(self) -> float:
        """Processor time of the calling thread."""
        ...

    def now(self) -> datetime: ...

    def sleep(self, seconds: float) -> None:
        """Blocks the calling thread."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    def monotonic(self) -> float:
        return time.monotonic()

    def thread_time(self) -> float:
        return time.thread_time()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
