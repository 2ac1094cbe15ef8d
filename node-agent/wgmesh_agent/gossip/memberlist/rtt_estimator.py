"""How long answers to probes take: RFC 6298's estimate, over whoever is probed.

Where machines are too busy to answer soon, accusing the living would be one more thing for all of them to do.
"""

from __future__ import annotations

from typing import Final

_GAIN: Final = 1 / 8
_DEVIATION_GAIN: Final = 1 / 4
_DEVIATIONS: Final = 4


class AckTimeEstimator:
    """Fed with what direct answers took, however late they came."""

    __slots__ = ("_deviation", "_mean", "_most", "_timeout")

    def __init__(self, timeout: float, most: float) -> None:
        """
        Args:
            timeout: how long is waited where answers are quick, in seconds.
            most: the longest stretch of that.
        """
        self._mean = 0.0
        self._deviation = 0.0
        self._timeout = timeout
        self._most = most

    def observe(self, seconds: float) -> None:
        """One answer took so long; one beyond the longest wait counts as that, so that it is soon forgotten, too."""
        seconds = min(seconds, self._most * self._timeout)
        self._deviation += _DEVIATION_GAIN * (abs(seconds - self._mean) - self._deviation)
        self._mean += _GAIN * (seconds - self._mean)

    @property
    def scale(self) -> float:
        """How many times the timeout is to be waited, so that hardly an answer comes later: 1 where it does."""
        return min(self._most, max(1.0, (self._mean + _DEVIATIONS * self._deviation) / self._timeout))
