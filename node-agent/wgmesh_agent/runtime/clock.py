"""Clocks as parameters, so that tests can replace them."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Protocol

from wgmesh_agent.runtime import boot_clock


class Clock(Protocol):
    """Interface of a clock."""

    def monotonic(self) -> float:
        """Monotonic seconds; they stop while the machine is suspended."""

    def boot(self) -> float:
        """Seconds since boot, suspend included."""

    def unix(self) -> float:
        """Seconds since 1970, by a clock that may be set."""

    def now(self) -> datetime:
        """The same as a time in UTC."""


class Pause(Protocol):
    """Waits; `asyncio.sleep` does."""

    def __call__(self, seconds: float, /) -> Awaitable[None]:
        """Returns when so many seconds have passed."""


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return time.monotonic()

    def boot(self) -> float:
        """As `boot_clock.seconds`."""
        return boot_clock.seconds()

    def unix(self) -> float:
        """As `time.time`."""
        return time.time()

    def now(self) -> datetime:
        """As `datetime.now`."""
        return datetime.now(UTC)
