"""Clocks as parameters, so that tests can replace them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Interface of a clock."""

    def monotonic(self) -> float:
        """Monotonic seconds; they stop while the machine is suspended."""

    def unix(self) -> float:
        """Seconds since 1970, by a clock that may be set."""

    def now(self) -> datetime:
        """The same as a time in UTC."""


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return time.monotonic()

    def unix(self) -> float:
        """As `time.time`."""
        return time.time()

    def now(self) -> datetime:
        """As `datetime.now`."""
        return datetime.now(UTC)
