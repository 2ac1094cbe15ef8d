"""A clock that a test sets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(slots=True)
class TestClock:
    """Stands still until it is set."""

    __test__ = False
    seconds: float = 1000.0
    unix_seconds: float = 1_760_000_000.0
    boot_seconds: float = 5000.0

    def monotonic(self) -> float:
        """As it was set."""
        return self.seconds

    def boot(self) -> float:
        """As it was set."""
        return self.boot_seconds

    def unix(self) -> float:
        """As it was set."""
        return self.unix_seconds

    def now(self) -> datetime:
        """As it was set."""
        return datetime.fromtimestamp(self.unix_seconds, UTC)
