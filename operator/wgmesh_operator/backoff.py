"""Exponential backoff: pauses that double with each failure, up to a maximum."""

from __future__ import annotations

from dataclasses import dataclass

_MAX_DOUBLINGS = 16
"""Bounds the exponent: after this many failures, every pause is the longest."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """`first` and `longest` are pauses in seconds."""

    first: float
    longest: float

    def after(self, failures: int) -> float:
        """The pause after `failures` earlier failures in a row; 0: after the first one."""
        return float(min(self.longest, self.first * 2 ** min(failures, _MAX_DOUBLINGS)))
