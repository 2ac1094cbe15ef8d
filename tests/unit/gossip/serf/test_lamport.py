"""Lamport clocks step past what they see, but not to the end of time."""

from __future__ import annotations

import pytest

from wgmesh_agent.gossip.serf.lamport import LATEST, LamportClock, plausible
from wgmesh_agent.gossip.serf.lamport_leaps import FREE_STEP, MOST_AT_ONCE, REFILL_A_SECOND, Leaps


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
    assert not clock.believes(clock.time + MOST_AT_ONCE + 1)
    assert clock.believes(clock.time + MOST_AT_ONCE)
    assert not clock.believes(LATEST)
    assert not clock.believes(0)
    assert clock.believes(1)


def test_leaps_are_limited_for_each_speaker_and_time() -> None:
    leaps = Leaps()
    clock = LamportClock(leaps)
    leaps.hear("evil", 0.0)
    for _ in range(100_000):
        if clock.believes(clock.time + MOST_AT_ONCE // 4):
            clock.witness(clock.time + MOST_AT_ONCE // 4)
    assert clock.time < 2 * MOST_AT_ONCE
    leaps.hear("honest", 0.0)
    assert clock.believes(clock.time + MOST_AT_ONCE)
    leaps.hear("evil", 1.0)
    assert clock.believes(clock.time + REFILL_A_SECOND)
    assert not clock.believes(clock.time + REFILL_A_SECOND)


def test_bursts_are_no_leaps() -> None:
    clock = LamportClock()
    assert not clock.believes(MOST_AT_ONCE * 2)
    for _ in range(5):
        assert clock.believes(clock.time + MOST_AT_ONCE // 5)
    assert clock.believes(clock.time + FREE_STEP)


def test_the_budgets_themselves_are_bounded() -> None:
    leaps = Leaps()
    for number in range(10_000):
        leaps.hear(str(number), 0.0)
        assert leaps.allows(MOST_AT_ONCE)
    assert len(leaps._budgets) == 4096
