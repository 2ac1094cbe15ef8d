"""Answers to queries: each querying member has its own budget, and cannot use another's."""

from __future__ import annotations

from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.mesh.membership.query_rate_limit import AnswerLimit


def query(source_node: str, source_member: str | None) -> QueryReceived:
    return QueryReceived(1, 1, source_node, "_doctor", b"", 0.0, source_member=source_member)


def test_an_asker_that_spends_its_budget_leaves_others_theirs() -> None:
    limit = AnswerLimit(10.0)
    assert [limit.allows(query("evil", "evil"), 0.0) for _ in range(20)] == [True] * 10 + [False] * 10
    assert limit.allows(query("n1", "n1"), 0.0)
    assert not limit.allows(query("evil", "evil"), 0.05)
    assert limit.allows(query("evil", "evil"), 0.2)


def test_queries_in_names_of_others_share_one_budget() -> None:
    limit = AnswerLimit(10.0)
    forged = [limit.allows(query(f"n{number}", "evil"), 0.0) for number in range(20)]
    assert sum(forged) == 10
    assert limit.allows(query("n1", "n1"), 0.0)
    assert not limit.allows(query("n1", None), 0.0)
