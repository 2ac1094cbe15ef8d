from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from tests.unit.operator.harness import FakeClock

from wgmesh_operator.clock import Clock, SystemClock


def test_system_clock_is_that_of_the_operating_system() -> None:
    clock = SystemClock()
    before = time.monotonic()
    assert before <= clock.monotonic() <= time.monotonic()
    worked = time.thread_time()
    assert worked <= clock.thread_time() <= time.thread_time()
    now = datetime.now(UTC)
    assert now <= clock.now() <= datetime.now(UTC)
    assert clock.now().tzinfo is UTC


def test_system_clock_sleeps_as_long_as_it_is_told() -> None:
    clock = SystemClock()
    before = time.monotonic()
    clock.sleep(0.01)
    assert time.monotonic() - before >= 0.01


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()])
def test_both_clocks_can_be_passed_as_a_clock(clock: Clock) -> None:
    assert clock.monotonic() <= clock.monotonic()
