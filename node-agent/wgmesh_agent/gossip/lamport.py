"""Lamport clocks (gossip-wire §8.2), with the far future cut off.

A Go peer takes any 64-bit time; one message near the end would then stop a clock for good. Times in the upper
half are refused here: no honest cluster gets there, and whoever holds less can always be overtaken.
"""

from __future__ import annotations

LATEST = 1 << 63


class LamportClock:
    """Starts at 1; `time` is what the next message of this node carries."""

    __slots__ = ("time",)

    def __init__(self) -> None:
        self.time = 1

    def increment(self) -> None:
        """Step once."""
        self.time += 1

    def witness(self, seen: int) -> None:
        """Step past a time another node has used."""
        if self.time <= seen < LATEST:
            self.time = seen + 1


def plausible(time: int) -> bool:
    """Whether a received time may be acted on."""
    return 0 <= time < LATEST
