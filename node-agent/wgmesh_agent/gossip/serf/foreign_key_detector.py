"""A mesh whose key has changed goes on speaking with another key than ours; one that is changing it does not."""

from __future__ import annotations

from typing import Final

MIN_DURATION_SECONDS: Final = 5.0
"""Longer than members differ while they change keys."""
MAX_GAP_SECONDS: Final = 30.0
"""Members try one of those they miss every two seconds. So each of many that a few miss is tried seldom."""


class ForeignKeyDetector:
    """Fed with how many messages the primary key has not opened so far; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._primary = b""
        self._count = 0
        self._first = 0.0
        self._last = 0.0

    def persists(self, count: int, primary: bytes, now: float) -> bool:
        """Whether such messages have come for five seconds or more, none long after the one before, and one of late,
        all under the same primary key of ours.
        """
        if primary != self._primary:
            self._primary, self._count, self._first = primary, count, 0.0
        if count > self._count:
            if not self._first or now - self._last > MAX_GAP_SECONDS:
                self._first = now
            self._count, self._last = count, now
        return (
            bool(self._first)
            and now - self._last <= MAX_GAP_SECONDS
            and self._last - self._first >= MIN_DURATION_SECONDS
        )
