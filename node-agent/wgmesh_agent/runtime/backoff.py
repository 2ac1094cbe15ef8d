"""Exponential backoff, and jitter for periods.

A `Backoff` is a value: it has no state, no clock and no sleep. Most places here cannot hand over their loop as a retry
library requires it: cores compare with `now`, and loops end a pause early at a `Signal` (ADR 041).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

_MAX_DOUBLINGS = 64
"""More doublings change nothing below any limit in use, and 1024 overflow a float."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double up to a limit.

    Attributes:
        first_seconds: after the first failure; positive.
        longest_seconds: upper limit.
    """

    first_seconds: float
    longest_seconds: float = math.inf

    def seconds(self, failures: int) -> float:
        """Returns the pause after this number of consecutive failures; 0 after none."""
        if failures < 1:
            return 0.0
        return min(self.longest_seconds, math.ldexp(self.first_seconds, min(failures - 1, _MAX_DOUBLINGS)))

    def longer(self, pause_seconds: float) -> float:
        """Returns the pause that follows one of `pause_seconds`; the first one after 0."""
        return min(self.longest_seconds, max(self.first_seconds, 2 * pause_seconds))


def jittered(seconds: float, rng: random.Random | None = None) -> float:
    """Returns a period of 75 to 125 %, so that nodes that started together do not continue together."""
    return seconds * _uniform(0.75, 1.25, rng)


def equal_jitter(seconds: float, rng: random.Random | None = None) -> float:
    """Returns 50 to 100 % of a pause: if no retry may be later than the backoff allows."""
    return seconds * _uniform(0.5, 1.0, rng)


def _uniform(low: float, high: float, rng: random.Random | None) -> float:
    return rng.uniform(low, high) if rng is not None else random.uniform(low, high)  # noqa: S311
