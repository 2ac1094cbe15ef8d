"""The clocks that parts are given, so that a test can give them others."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a part asks for the time."""

    def monotonic(self) -> float:
        """Seconds that only pass; they stand still while the machine is suspended."""

    def unix(self) -> float:
        """Seconds since 1970, by a clock that may be set."""

    def now(self) -> datetime:
        """The same as a time in UTC."""


class SystemClock:
    """This machine's."""

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return time.monotonic()

    def unix(self) -> float:
        """As `time.time`."""
        return time.time()

    def now(self) -> datetime:
        """As `datetime.now`."""
        return datetime.now(UTC)
