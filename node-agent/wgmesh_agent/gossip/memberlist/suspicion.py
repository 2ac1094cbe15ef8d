"""Timer of one suspicion: it shortens as independent accusers confirm it (gossip-wire §6)."""

from __future__ import annotations

import math


def suspicion_timeout_seconds(minimum: float, maximum: float, confirmations: int, wanted: int) -> float:
    """Returns the time from the first suspicion to death with `confirmations` of `wanted` received.

    Whole milliseconds, never below `minimum`; `minimum` from the start if no node can confirm.
    """
    if wanted < 1:
        return minimum
    share = math.log(confirmations + 1) / math.log(wanted + 1)
    return max(minimum, math.floor(1000 * (maximum - (maximum - minimum) * share)) / 1000)


class Suspicion:
    """Accusers of a member, and the deadline for its refutation."""

    __slots__ = ("_accusers", "_maximum", "_minimum", "_started", "_wanted", "confirmations")

    def __init__(self, accuser: str, minimum: float, maximum: float, wanted: int, now: float) -> None:
        self._accusers = {accuser}
        self._minimum = minimum
        self._maximum = maximum
        self._wanted = wanted
        self._started = now
        self.confirmations = 0

    @property
    def deadline(self) -> float:
        """When the suspicion turns into death (monotonic seconds)."""
        return self._started + suspicion_timeout_seconds(
            self._minimum, self._maximum, self.confirmations, self._wanted
        )

    @property
    def wants_confirmation(self) -> bool:
        """Returns whether one more accuser would shorten it."""
        return self.confirmations < self._wanted

    def confirm(self, accuser: str) -> bool:
        """Counts another accuser; False if it has no effect (known already, or enough of them)."""
        if not self.wants_confirmation or accuser in self._accusers:
            return False
        self._accusers.add(accuser)
        self.confirmations += 1
        return True
