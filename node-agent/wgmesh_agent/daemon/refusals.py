"""Refused claims: all counted by reason; logged each distinct one once an hour, of each reason a few a minute."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

log = structlog.get_logger()
REPEAT_SECONDS = 3600.0
MAX_REMEMBERED = 1024
WINDOW_SECONDS = 60.0
LINES_A_WINDOW = 10
IMPOSSIBLE = (
    "intent: implausible Lamport time",
    "user event: from an impossible time",
    "query: from an impossible time",
    "accusation: incarnation far ahead",
    "alive: incarnation far ahead",
)


@dataclass(slots=True)
class _Window:
    """What was logged of one reason since `began`."""

    began: float
    logged: int = 0
    silent: int = 0


class Refusals:
    """Counts are for `wgmesh info`; the log gets no flood from a member that repeats itself, or never does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._overtaken: Counter[str] = Counter()
        self._last: dict[str, tuple[str, float]] = {}
        self._logged: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._windows: dict[str, _Window] = {}

    def overtake(self, refused: Mapping[str, int]) -> None:
        """Counts what the gossip core refused of claims about times that no honest member makes."""
        for what in IMPOSSIBLE:
            times = refused.get(what, 0) - self._overtaken[what]
            if times > 0:
                self._overtaken[what] += times
                self.count("gossip_impossible", f"gossip told the impossible: {what}", times)

    def recent(self, seconds: float) -> list[tuple[str, str, float]]:
        """Reason, last message and how many seconds ago, of each reason that was counted within so many."""
        now = self._clock()
        return [
            (why, said, now - at) for why, (said, at) in sorted(self._last.items()) if now - at <= seconds
        ]

    def count(self, reason: str, message: str, times: int = 1) -> None:
        self.counts[reason] += times
        now = self._clock()
        self._last[reason] = (message, now)
        last = self._logged.get((reason, message))
        if last is not None and now - last < REPEAT_SECONDS:
            return
        window = self._windows.get(reason)
        if window is None or now - window.began >= WINDOW_SECONDS:
            if window is not None and window.silent:
                log.warning("claims refused, not shown", reason=reason, how_many=window.silent)
            window = self._windows[reason] = _Window(now)
        if window.logged >= LINES_A_WINDOW:
            window.silent += 1
            return
        window.logged += 1
        self._logged[(reason, message)] = now
        self._logged.move_to_end((reason, message))
        if len(self._logged) > MAX_REMEMBERED:
            self._logged.popitem(last=False)
        log.warning("claim refused", reason=reason, why=message)
