"""A rate limit for answers to queries, by the member that asks."""

from __future__ import annotations

from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.runtime.rate_limit import RateLimit

PASSED_ON = ""
"""Queries that other members passed on share one budget: nothing proves who asked them."""


class AnswerLimit:
    """A budget for each asker; time is monotonic seconds."""

    def __init__(self, answers_a_second: float) -> None:
        """`answers_a_second` is also how many answers may follow each other at once."""
        self._limit = RateLimit(answers_a_second, answers_a_second)

    def allows(self, request: QueryReceived, now: float) -> bool:
        """Takes one answer from the budget of the member whose own datagram asked."""
        member = request.source_member
        asker = member if member is not None and member == request.source_node else PASSED_ON
        return self._limit.take(asker, now)
