"""A value that is cached for a burst is computed once in it, and not kept indefinitely."""

from __future__ import annotations

from functools import lru_cache

from wgmesh_agent.gossip.wire.messages import Dead, decode, encode
from wgmesh_agent.runtime.caches import forget_cached, forgotten_between_bursts

computed: list[int] = []


@forgotten_between_bursts
@lru_cache(maxsize=4)
def double(number: int) -> int:
    computed.append(number)
    return 2 * number


def test_it_is_computed_once_until_all_is_forgotten() -> None:
    assert [double(3), double(3)] == [6, 6]
    assert computed == [3]
    forget_cached()
    assert double(3) == 6
    assert computed == [3, 3]


def test_news_that_all_pass_on_is_decoded_once_and_forgotten_too() -> None:
    news = encode(Dead(1, "n2", "n3"))
    first = decode(news)
    assert decode(news) is first
    forget_cached()
    assert decode(news) is not first
