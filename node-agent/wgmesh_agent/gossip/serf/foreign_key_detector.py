"""Detects that the mesh completed a key rotation that this node missed. During a rotation both keys are in use."""

from __future__ import annotations

from typing import Final

MIN_DURATION_SECONDS: Final = 5.0
"""Longer than members differ during a key rotation."""
MAX_GAP_SECONDS: Final = 30.0
"""Members try one unreachable member every two seconds: if a few lack many members, each is tried rarely."""


class ForeignKeyDetector:
    """Fed with the number of messages that the primary key has not decrypted so far; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._primary = b""
        self._count = 0
        self._first = 0.0
        self._last = 0.0

    def persists(self, count: int, primary: bytes, now: float) -> bool:
        """Returns whether such messages have arrived for five seconds or more, without long gaps and until recently,
        all under the same primary key of this node."""
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
