"""A bucket each, that time fills; those who ask are remembered up to a bound."""

from __future__ import annotations

from wgmesh_agent.runtime.rate_limit import RateLimit


def test_so_many_at_once_and_so_many_a_second_after_that() -> None:
    limit = RateLimit(2.0, 5.0)
    assert [limit.take("a", 0.0) for _ in range(8)] == [True] * 5 + [False] * 3
    assert [limit.take("a", 1.0) for _ in range(3)] == [True, True, False]
    assert [limit.take("a", 1000.0) for _ in range(6)] == [True] * 5 + [False]
    assert limit.take("b", 0.0)


def test_no_more_than_some_keys_are_remembered() -> None:
    limit = RateLimit(1.0, 1.0, most_keys=100)
    for number in range(200):
        limit.take(str(number), 0.0)
    assert len(limit._left) == 100
    assert not limit.take("199", 0.0)
    assert limit.take("0", 0.0)
