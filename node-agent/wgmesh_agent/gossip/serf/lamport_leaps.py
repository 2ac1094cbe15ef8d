"""Limits how far one sender may advance a clock.

An honest mesh leaps when partitions merge, by the number of messages sent in the meantime. Each sender has a budget
of leaps, which refills with time: so no sender can advance a clock to its end, or use up the budget of others.
"""

from __future__ import annotations

from typing import Final

FREE_STEP: Final = 1024
"""An advance of this size is a burst of messages, not a leap."""
MOST_AT_ONCE: Final = 1 << 24
"""Sixteen million messages: more than a mesh sends in weeks of partition."""
REFILL_A_SECOND: Final = 1 << 14
"""More than all members together send; a clock of 63 bits lasts for millions of years of it."""
_MOST_SPEAKERS: Final = 4096


class Leaps:
    """The budgets by sender; `speaker` and `now` are those of the message that is being handled."""

    def __init__(self) -> None:
        self._speaker = ""
        self._now = 0.0
        self._budgets: dict[str, tuple[float, float]] = {}

    def hear(self, speaker: str, now: float) -> None:
        """The next messages are from this sender."""
        self._speaker, self._now = speaker, now

    def allows(self, ahead: int) -> bool:
        """Returns whether the sender may advance a clock by this much; that is charged to its budget."""
        if ahead <= FREE_STEP:
            return True
        room, since = self._budgets.get(self._speaker, (MOST_AT_ONCE, self._now))
        room = min(MOST_AT_ONCE, room + (self._now - since) * REFILL_A_SECOND)
        if ahead > room:
            return False
        self._budgets.pop(self._speaker, None)
        self._budgets[self._speaker] = (room - ahead, self._now)
        if len(self._budgets) > _MOST_SPEAKERS:
            del self._budgets[next(iter(self._budgets))]
        return True
