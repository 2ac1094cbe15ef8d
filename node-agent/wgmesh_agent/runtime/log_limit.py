"""Rate limit for log lines that others can cause: each distinct line once an hour, a few of each kind per minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

REPEAT_SECONDS = 3600.0
MAX_REMEMBERED = 128
WINDOW_SECONDS = 60.0
MAX_LINES_PER_WINDOW = 10


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether a line may be logged.

    Attributes:
        granted: log it.
        suppressed: number of suppressed lines of this kind in the previous minute; to be logged once.
    """

    granted: bool
    suppressed: int = 0


@dataclass(slots=True)
class _Window:
    began: float
    logged: int = 0
    suppressed: int = 0


class LogLimit:
    """Memory is bounded by the number of kinds, which the code fixes, and `MAX_REMEMBERED` lines.

    Only the hash of each line is stored, because others choose the length of lines. Python keys the hash with a
    secret.
    """

    def __init__(self, clock: Callable[[], float], lines_a_window: int = MAX_LINES_PER_WINDOW) -> None:
        """Args:
        clock: monotonic seconds.
        lines_a_window: number of granted lines of each kind per minute."""
        self._clock = clock
        self._lines = lines_a_window
        self._logged: dict[int, float] = {}
        self._windows: dict[str, _Window] = {}

    def ask(self, kind: str, line: str) -> Permission:
        """Returns whether `line`, of a kind from a fixed set, may be logged now."""
        now = self._clock()
        remembered = hash((kind, line))
        last = self._logged.get(remembered)
        if last is not None and now - last < REPEAT_SECONDS:
            return Permission(False)
        window = self._windows.get(kind)
        suppressed = 0
        if window is None or now - window.began >= WINDOW_SECONDS:
            suppressed = window.suppressed if window is not None else 0
            window = self._windows[kind] = _Window(now)
        if window.logged >= self._lines:
            window.suppressed += 1
            return Permission(False, suppressed)
        window.logged += 1
        self._logged.pop(remembered, None)
        self._logged[remembered] = now
        if len(self._logged) > MAX_REMEMBERED:
            del self._logged[next(iter(self._logged))]
        return Permission(True, suppressed)
