"""Lamport clocks (gossip-wire §8.2), with the far future cut off.

Clocks start at 1, so no message carries 0. A Go peer takes any 64-bit time; one message near the end would then stop a
clock for good. Times in the upper half are refused here, and so are leaps beyond the budget of who makes them.
"""

from __future__ import annotations

from wgmesh_agent.gossip.serf.lamport_leaps import Leaps

LATEST = 1 << 63


class LamportClock:
    """Starts at 1; `time` is what the next message of this node carries."""

    __slots__ = ("_leaps", "time")

    def __init__(self, leaps: Leaps | None = None) -> None:
        self.time = 1
        self._leaps = leaps or Leaps()

    def increment(self) -> None:
        """Step once."""
        self.time += 1

    def witness(self, seen: int) -> None:
        """Step past a time another node has used."""
        if self.time <= seen < LATEST:
            self.time = seen + 1

    def believes(self, seen: int) -> bool:
        """Whether a received time may be acted on; one far ahead is taken from its speaker's budget."""
        return plausible(seen) and self._leaps.allows(seen - self.time)


def plausible(time: int) -> bool:
    """Whether a time can be any cluster's."""
    return 0 < time < LATEST
