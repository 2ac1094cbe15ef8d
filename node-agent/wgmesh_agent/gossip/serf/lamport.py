"""Lamport clocks (gossip-wire §8.2), with the far future rejected.

Clocks start at 1, so no message contains 0. A Go peer accepts any 64-bit time; one message near the end would then
stop a clock permanently. Times in the upper half are rejected here, and so are leaps beyond the budget of their
sender.
"""

from __future__ import annotations

from wgmesh_agent.gossip.serf.lamport_leaps import Leaps

LATEST = 1 << 63


class LamportClock:
    """Starts at 1; `time` is that of this node's next message."""

    __slots__ = ("_leaps", "time")

    def __init__(self, leaps: Leaps | None = None) -> None:
        self.time = 1
        self._leaps = leaps or Leaps()

    def increment(self) -> None:
        """Advances by one."""
        self.time += 1

    def witness(self, seen: int) -> None:
        """Advances past a time that another node has used."""
        if self.time <= seen < LATEST:
            self.time = seen + 1

    def believes(self, seen: int) -> bool:
        """Returns whether a received time may be used; one far ahead is charged to its sender's budget."""
        return plausible(seen) and self._leaps.allows(seen - self.time)


def plausible(time: int) -> bool:
    """Returns whether a time is possible in any cluster."""
    return 0 < time < LATEST
