"""Refused claims: counted by reason, each distinct one logged once an hour however often it comes."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict

import structlog

log = structlog.get_logger()
REPEAT_SECONDS = 3600.0
MAX_REMEMBERED = 1024


class Refusals:
    """Counts are for `wgmesh info`; the log gets no flood from a member that repeats itself."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._logged: OrderedDict[tuple[str, str], float] = OrderedDict()

    def count(self, reason: str, message: str) -> None:
        self.counts[reason] += 1
        now = time.monotonic()
        last = self._logged.get((reason, message))
        if last is not None and now - last < REPEAT_SECONDS:
            return
        self._logged[(reason, message)] = now
        self._logged.move_to_end((reason, message))
        if len(self._logged) > MAX_REMEMBERED:
            self._logged.popitem(last=False)
        log.warning("claim refused", reason=reason, why=message)
