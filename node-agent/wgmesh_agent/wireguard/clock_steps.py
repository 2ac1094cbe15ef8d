"""How this machine's wall clock was stepped: what a stamp of another day's clock means in monotonic seconds.

An agent that starts after a step knows nothing of it by itself, and finds handshakes whose stamps lie ahead. So what
the wall clock was is remembered for as long as sessions last that were stamped by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from wgmesh_agent.wireguard.endpoint_candidates import STALE_AFTER_SECONDS

SAME_CLOCK_SECONDS = 1.0
Span = tuple[float, float]
"""From when on, in monotonic seconds, and by how many seconds the wall clock was ahead of these."""


class ClockSteps:
    """`update` as often as possible: a step counts from when it was seen."""

    def __init__(
        self,
        known: Sequence[Span] = (),
        keep: Callable[[Sequence[Span]], bool] = lambda _: True,
    ) -> None:
        """
        Args:
            known: what was kept, the oldest first.
            keep: to be remembered across restarts; False: it could not be, and is tried again at the next look.
        """
        self._spans = list(known)
        self._keep = keep
        self._kept = True

    def update(self, now_unix: float, now: float) -> None:
        """Notes a step, if there was one; `now` is monotonic seconds."""
        ahead = now_unix - now
        if not self._spans or abs(self._spans[-1][1] - ahead) > SAME_CLOCK_SECONDS:
            spans = [*self._spans, (now, ahead)]
            self._spans = [one for one, after in pairwise(spans) if after[0] > now - STALE_AFTER_SECONDS]
            self._spans.append((now, ahead))
            self._kept = False
        self._kept = self._kept or self._keep(self._spans)

    def stamped_at(self, stamp: float) -> float:
        """When an earlier clock made this stamp, in monotonic seconds; the latest it can have been."""
        found = (
            stamp - ahead
            for (_, ahead), (end, _) in pairwise(self._spans)
            if stamp - ahead <= end + SAME_CLOCK_SECONDS
        )
        return max(found, default=self._spans[-1][0])
