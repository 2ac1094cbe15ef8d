"""Lamport clocks step past what they see, but not to the end of time."""

from __future__ import annotations

import pytest

from wgmesh_agent.gossip.lamport import LATEST, MAX_LEAP, LamportClock, plausible


@pytest.mark.parametrize(("seen", "time"), [(0, 1), (1, 2), (7, 8), (2000, 2001)])
def test_witness_steps_past_a_time_not_before_ours(seen: int, time: int) -> None:
    clock = LamportClock()
    clock.witness(seen)
    assert clock.time == time


def test_a_time_of_the_upper_half_moves_no_clock() -> None:
    clock = LamportClock()
    for seen in (LATEST, 2**64 - 1):
        clock.witness(seen)
        assert not plausible(seen)
    assert clock.time == 1
    clock.witness(LATEST - 1)
    assert clock.time == LATEST
    assert plausible(LATEST - 1)


def test_a_leap_that_no_cluster_makes_is_not_believed() -> None:
    clock = LamportClock()
    clock.witness(1000)
    assert clock.believes(clock.time + MAX_LEAP)
    assert not clock.believes(clock.time + MAX_LEAP + 1)
    assert not clock.believes(LATEST)
    assert not clock.believes(0)
    assert clock.believes(1)
