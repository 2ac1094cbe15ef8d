"""Bounded logging of what others can cause: each distinct line once an hour, of each kind a few a minute."""

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
        suppressed: how many lines of this kind were suppressed in the minute before; to be logged once.
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

    Of each line its hash is kept: others choose how long lines are. Python keys the hash with what they do not know.
    """

    def __init__(self, clock: Callable[[], float], lines_a_window: int = MAX_LINES_PER_WINDOW) -> None:
        """
        Args:
            clock: monotonic seconds.
            lines_a_window: how many lines of each kind are granted a minute.
        """
        self._clock = clock
        self._lines = lines_a_window
        self._logged: dict[int, float] = {}
        self._windows: dict[str, _Window] = {}

    def ask(self, kind: str, line: str) -> Permission:
        """Whether `line`, of a kind from a fixed set, may be logged now."""
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
