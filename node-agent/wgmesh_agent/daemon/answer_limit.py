"""A rate limit for answers to queries, by the member that asks."""

from __future__ import annotations

from wgmesh_agent.gossip.notifications import QueryReceived

MAX_ASKERS = 1024
PASSED_ON = ""
"""Queries that other members passed on share one budget: nothing proves who asked them."""


class AnswerLimit:
    """A token bucket for each asker; time is monotonic seconds."""

    def __init__(self, answers_a_second: float) -> None:
        """`answers_a_second` is also how many answers may follow each other at once."""
        self._rate = answers_a_second
        self._left: dict[str, tuple[float, float]] = {}

    def allows(self, request: QueryReceived, now: float) -> bool:
        """Takes one answer from the budget of the member whose own datagram asked."""
        member = request.source_member
        asker = member if member is not None and member == request.source_node else PASSED_ON
        left, since = self._left.pop(asker, (self._rate, now))
        left = min(self._rate, left + (now - since) * self._rate)
        allowed = left >= 1.0
        self._left[asker] = (left - 1.0 if allowed else left, now)
        if len(self._left) > MAX_ASKERS:
            del self._left[next(iter(self._left))]
        return allowed
