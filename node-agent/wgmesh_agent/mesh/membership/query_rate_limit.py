"""Rate limit for answers to queries, by the querying member."""

from __future__ import annotations

from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.runtime.rate_limit import RateLimit

PASSED_ON = ""
"""Queries forwarded by other members share one budget: their origin is not proven."""


class AnswerLimit:
    """A budget for each querying member; time is monotonic seconds."""

    def __init__(self, answers_a_second: float) -> None:
        """`answers_a_second` is also the burst size."""
        self._limit = RateLimit(answers_a_second, answers_a_second)

    def allows(self, request: QueryReceived, now: float) -> bool:
        """Takes one answer from the budget of the member that sent the query directly."""
        member = request.source_member
        asker = member if member is not None and member == request.source_node else PASSED_ON
        return self._limit.take(asker, now)
