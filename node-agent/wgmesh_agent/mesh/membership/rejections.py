"""Rejected claims: all counted by reason; each distinct one logged once an hour, a few per reason and minute."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping

import structlog

from wgmesh_agent.runtime.log_limit import LogLimit

log = structlog.get_logger()
IMPLAUSIBLE_TIME_COUNTERS = (
    "intent: implausible Lamport time",
    "user event: from an impossible time",
    "query: from an impossible time",
    "accusation: incarnation far ahead",
    "alive: incarnation far ahead",
)


class RejectionLog:
    """Counts are for `wgmesh info`; repeated or varied claims of one member do not flood the log."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._overtaken: Counter[str] = Counter()
        self._last: dict[str, tuple[str, float]] = {}
        self._limit = LogLimit(clock)

    def add_gossip_counters(self, refused: Mapping[str, int]) -> None:
        """Counts claims that the gossip core rejected because of times that no honest member states."""
        for what in IMPLAUSIBLE_TIME_COUNTERS:
            times = refused.get(what, 0) - self._overtaken[what]
            if times > 0:
                self._overtaken[what] += times
                self.record("gossip_implausible_time", f"gossip claimed an implausible time: {what}", times)

    def recent(self, seconds: float) -> list[tuple[str, str, float]]:
        """Reason, last message and age in seconds of each reason counted within the given time."""
        now = self._clock()
        return [
            (why, said, now - at) for why, (said, at) in sorted(self._last.items()) if now - at <= seconds
        ]

    def record(self, reason: str, message: str, times: int = 1) -> None:
        self.counts[reason] += times
        self._last[reason] = (message, self._clock())
        permission = self._limit.ask(reason, message)
        if permission.suppressed:
            log.warning("rejected claims suppressed", reason=reason, how_many=permission.suppressed)
        if permission.granted:
            log.warning("claim rejected", reason=reason, error=message)
