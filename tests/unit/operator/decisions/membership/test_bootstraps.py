from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.harness import NOW

from wgmesh_operator.decisions.cluster_node import ClusterNode
from wgmesh_operator.decisions.membership.bootstraps import REPLACE_AFTER, Candidate, choose, is_alive


def candidate(name: str, zone: str = "", **more: bool) -> Candidate:
    flags = {"alive": True, "ready": True, "joined": False, "current": False} | more
    return Candidate(name, zone, **flags)


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        name=st.text("abcdef", min_size=1, max_size=4),
        zone=st.sampled_from(["", "x", "y"]),
        alive=st.booleans(),
        ready=st.booleans(),
        joined=st.booleans(),
        current=st.booleans(),
        serving=st.booleans(),
    ),
    unique_by=lambda c: c.name,
    max_size=12,
)


@given(CANDIDATES, st.integers(1, 9))
def test_as_many_as_asked_for_or_as_there_are(pool: list[Candidate], replicas: int) -> None:
    able = [c for c in pool if c.alive or c.current]
    assert len(choose(pool, replicas)) == min(replicas, len(able))


@given(CANDIDATES, st.integers(1, 9))
def test_a_second_look_changes_nothing(pool: list[Candidate], replicas: int) -> None:
    chosen = choose(pool, replicas)
    again = [replace(c, current=c.name in chosen) for c in pool]
    assert choose(again, replicas) == chosen


@given(CANDIDATES, st.integers(1, 9))
def test_living_ones_that_serve_stay(pool: list[Candidate], replicas: int) -> None:
    living = {c.name for c in pool if c.current and c.alive and c.serving}
    chosen = choose(pool, replicas)
    assert living <= chosen or len(living & chosen) == replicas


def test_new_ones_are_spread_over_zones() -> None:
    pool = [candidate("a", "x"), candidate("b", "x"), candidate("c", "y"), candidate("d", "z")]
    assert choose(pool, 3) == {"a", "c", "d"}


def test_members_are_preferred_to_newcomers() -> None:
    assert choose([candidate("a"), candidate("b", joined=True)], 1) == {"b"}


def test_a_dead_one_is_replaced_and_stays_only_if_nobody_can() -> None:
    dead = candidate("a", alive=False, ready=False, joined=True, current=True)
    assert choose([dead, candidate("b")], 1) == {"b"}
    assert choose([dead], 1) == {"a"}


def test_a_node_that_does_not_serve_is_replaced_and_stays_only_if_no_other_is_left() -> None:
    failing = candidate("a", joined=True, current=True, serving=False)
    assert choose([failing, candidate("b")], 1) == {"b"}
    assert choose([failing, candidate("b", alive=False)], 1) == {"a"}
    assert choose([failing, candidate("b", alive=False, current=True)], 1) == {"a"}


def test_the_duty_does_not_return_to_a_node_that_does_not_serve() -> None:
    failed_before = candidate("a", joined=True, serving=False)
    failing = candidate("b", joined=True, current=True, serving=False)
    assert choose([failed_before, failing], 1) == {"b"}
    assert choose([failed_before, failing, candidate("c")], 1) == {"c"}


def test_a_reboot_is_not_the_end() -> None:
    gone = NOW - REPLACE_AFTER
    assert is_alive(ClusterNode("a", ready=False, changed=gone + timedelta(seconds=1)), NOW)
    assert not is_alive(ClusterNode("a", ready=False, changed=gone), NOW)
    assert is_alive(ClusterNode("a", ready=True, changed=gone), NOW)
