"""Steps of this machine's wall clock: converts timestamps of an earlier clock to monotonic seconds.

An agent that starts after a step does not know of it, and finds handshakes with timestamps in the future. Therefore
the offset of the wall clock is stored for as long as sessions last that were stamped with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from wgmesh_agent.wireguard.endpoint_candidates import STALE_AFTER_SECONDS

SAME_CLOCK_SECONDS = 1.0
Span = tuple[float, float]
"""Start in monotonic seconds, and by how many seconds the wall clock was ahead of these."""


class ClockSteps:
    """Call `update` as often as possible: a step counts from when it was observed."""

    def __init__(
        self,
        known: Sequence[Span] = (),
        keep: Callable[[Sequence[Span]], bool] = lambda _: True,
    ) -> None:
        """Args:
        known: stored steps, oldest first.
        keep: persists them across restarts; False: it failed, and is retried with the next update."""
        self._spans = list(known)
        self._keep = keep
        self._kept = True

    def update(self, now_unix: float, now: float) -> None:
        """Records a step, if there was one; `now` is monotonic seconds."""
        ahead = now_unix - now
        if not self._spans or abs(self._spans[-1][1] - ahead) > SAME_CLOCK_SECONDS:
            spans = [*self._spans, (now, ahead)]
            self._spans = [one for one, after in pairwise(spans) if after[0] > now - STALE_AFTER_SECONDS]
            self._spans.append((now, ahead))
            self._kept = False
        self._kept = self._kept or self._keep(self._spans)

    def stamped_at(self, stamp: float) -> float:
        """Returns when an earlier clock produced this timestamp, in monotonic seconds; the latest possible time."""
        found = (
            stamp - ahead
            for (_, ahead), (end, _) in pairwise(self._spans)
            if stamp - ahead <= end + SAME_CLOCK_SECONDS
        )
        return max(found, default=self._spans[-1][0])
