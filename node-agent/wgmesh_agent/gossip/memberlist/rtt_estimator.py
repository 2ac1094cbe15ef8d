"""Estimates probe ACK times after RFC 6298, over all probed members.

If machines are too overloaded to answer in time, accusations of live members would add to the load of all of them.
"""

from __future__ import annotations

from typing import Final

_GAIN: Final = 1 / 8
_DEVIATION_GAIN: Final = 1 / 4
_DEVIATIONS: Final = 4


class AckTimeEstimator:
    """Fed with the duration of direct answers, however late they arrived."""

    __slots__ = ("_deviation", "_mean", "_most", "_timeout")

    def __init__(self, timeout: float, most: float) -> None:
        """Args:
        timeout: the timeout with fast answers, in seconds.
        most: the maximum factor of that."""
        self._mean = 0.0
        self._deviation = 0.0
        self._timeout = timeout
        self._most = most

    def observe(self, seconds: float) -> None:
        """Records the duration of one answer; one beyond the maximum timeout counts as the maximum, so that its
        effect also fades soon."""
        seconds = min(seconds, self._most * self._timeout)
        self._deviation += _DEVIATION_GAIN * (abs(seconds - self._mean) - self._deviation)
        self._mean += _GAIN * (seconds - self._mean)

    @property
    def scale(self) -> float:
        """Returns the factor of the timeout with which hardly any answer is late: 1 if answers are fast."""
        return min(self._most, max(1.0, (self._mean + _DEVIATIONS * self._deviation) / self._timeout))
