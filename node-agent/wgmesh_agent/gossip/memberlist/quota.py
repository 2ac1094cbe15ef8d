"""A budget that speakers share, of which none may have more than a part."""

from __future__ import annotations

from collections import Counter


class Quota:
    """Counts what is taken, in all and by speaker; the caller gives back what it took."""

    def __init__(self, in_all: int, of_one: int) -> None:
        self._in_all = in_all
        self._of_one = of_one
        self._taken: Counter[str] = Counter()
        self._total = 0

    def take(self, speaker: str, amount: int) -> bool:
        """Takes `amount` for a speaker; False, and nothing taken, where that is too much."""
        if self._total + amount > self._in_all or self._taken[speaker] + amount > self._of_one:
            if not self._taken[speaker]:
                del self._taken[speaker]
            return False
        self._taken[speaker] += amount
        self._total += amount
        return True

    def give_back(self, speaker: str, amount: int) -> None:
        """Gives back what was taken."""
        self._total -= amount
        self._taken[speaker] -= amount
        if not self._taken[speaker]:
            del self._taken[speaker]
