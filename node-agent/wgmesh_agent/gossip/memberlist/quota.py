"""A budget shared by senders, with a limit per sender."""

from __future__ import annotations

from collections import Counter


class Quota:
    """Counts usage, in total and per sender; the caller returns what it took."""

    def __init__(self, in_all: int, of_one: int) -> None:
        self._in_all = in_all
        self._of_one = of_one
        self._taken: Counter[str] = Counter()
        self._total = 0

    def take(self, speaker: str, amount: int) -> bool:
        """Takes `amount` for a sender; False, and nothing taken, if that exceeds a limit."""
        if self._total + amount > self._in_all or self._taken[speaker] + amount > self._of_one:
            if not self._taken[speaker]:
                del self._taken[speaker]
            return False
        self._taken[speaker] += amount
        self._total += amount
        return True

    def give_back(self, speaker: str, amount: int) -> None:
        """Returns what was taken."""
        self._total -= amount
        self._taken[speaker] -= amount
        if not self._taken[speaker]:
            del self._taken[speaker]
