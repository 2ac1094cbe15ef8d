"""Lamport clocks (gossip-wire §8.2), with the far future cut off.

Clocks start at 1, so no message carries 0. A Go peer takes any 64-bit time; one message near the end would then stop a
clock for good. Times in the upper half are refused here, and so are leaps that no honest cluster makes: 2^40 messages
are more than it sends in its life, and one member gone bad would have to send millions of leaps, each seen and counted,
to use the clock up.
"""

from __future__ import annotations

LATEST = 1 << 63
MAX_LEAP = 1 << 40


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

    def believes(self, seen: int) -> bool:
        """Whether a received time may be acted on, now that this clock knows its cluster's time."""
        return plausible(seen) and seen - self.time <= MAX_LEAP


def plausible(time: int) -> bool:
    """Whether a time can be any cluster's."""
    return 0 < time < LATEST
