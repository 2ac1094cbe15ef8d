"""Schedules: drawn from a seed alone, whole, and with nothing in them that would contradict itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chaos.fault_catalogue import HOUR, VIRTUAL
from tests.chaos.schedule import LIVES, Kind, Schedule, draw

SEEDS = st.integers(0, 1 << 40)


@given(SEEDS)
def test_a_seed_draws_the_same_schedule_again(seed: int) -> None:
    assert draw(seed, VIRTUAL) == draw(seed, VIRTUAL)


@given(SEEDS)
def test_a_schedule_keeps_to_its_menu(seed: int) -> None:
    schedule = draw(seed, VIRTUAL)
    assert VIRTUAL.nodes[0] <= len(schedule.nodes) <= VIRTUAL.nodes[1]
    assert 1 <= len(schedule.faults) <= VIRTUAL.faults[1]
    assert schedule.bootstraps == schedule.nodes[: len(schedule.bootstraps)]
    for fault in schedule.faults:
        dish = VIRTUAL.dishes[fault.kind]
        assert VIRTUAL.begin.least <= fault.at <= VIRTUAL.begin.most
        assert dish.seconds.least <= fault.seconds <= dish.seconds.most
        assert dish.amount.least <= abs(fault.amount) <= dish.amount.most
        assert not set(fault.whom) & set(fault.others)


@given(SEEDS)
def test_nobody_s_agent_is_ended_by_two_faults_at_once(seed: int) -> None:
    ending = [fault for fault in draw(seed, VIRTUAL).faults if fault.kind in LIVES]
    for number, one in enumerate(ending):
        for other in ending[number + 1 :]:
            assert one.end < other.at or other.end < one.at or not set(one.whom) & set(other.whom)


@given(SEEDS)
def test_the_founder_s_mesh_file_is_never_truncated(seed: int) -> None:
    for fault in draw(seed, VIRTUAL).faults:
        assert not (fault.file == "mesh.json" and "n1" in fault.whom)


def test_every_kind_of_fault_is_drawn_sooner_or_later() -> None:
    drawn = {fault.kind for seed in range(200) for fault in draw(seed, VIRTUAL).faults}
    assert drawn == set(Kind)


@pytest.mark.parametrize("seed", [1, 7])
def test_a_schedule_tells_its_seed_and_every_fault(seed: int) -> None:
    schedule = draw(seed, VIRTUAL)
    text = str(schedule)
    assert text.startswith(f"seed {seed}:")
    assert all(fault.kind.value in text for fault in schedule.faults)


def test_a_schedule_without_faults_ends_at_once() -> None:
    assert Schedule(1, ("n1",), ("n1",), ()).end == 0
    assert VIRTUAL.dishes[Kind.CLOCK].amount.most > HOUR
