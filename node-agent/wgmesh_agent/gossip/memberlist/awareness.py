"""Local health awareness (Lifeguard): a node that misses ACKs suspects itself first.

The score lengthens this node's own probe cycles (gossip-wire §6, §7.1).
"""

from __future__ import annotations


class Awareness:
    """A score 0..max−1; 0 is healthy."""

    __slots__ = ("_highest", "score")

    def __init__(self, max_multiplier: int) -> None:
        self._highest = max_multiplier - 1
        self.score = 0

    def apply(self, delta: int) -> None:
        """Changes the score by `delta`, clamped."""
        self.score = min(max(self.score + delta, 0), self._highest)

    def scale(self, seconds: float) -> float:
        """Returns `seconds` scaled by the score."""
        return seconds * (self.score + 1)
