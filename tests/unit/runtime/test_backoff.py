from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.runtime.backoff import Backoff, equal_jitter, jittered

BACKOFF = Backoff(0.5, 30.0)


def test_pauses_double_up_to_the_longest() -> None:
    assert [BACKOFF.seconds(failures) for failures in range(9)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize("failures", [64, 65, 1023, 1024, 1025, 10**9])
def test_pause_after_any_number_of_failures_is_the_longest(failures: int) -> None:
    assert BACKOFF.seconds(failures) == 30.0


def test_pause_without_a_limit_is_finite() -> None:
    assert Backoff(0.5).seconds(4) == 4.0
    assert Backoff(0.5).seconds(10**9) == 0.5 * 2**64


@given(st.integers(0, 100), st.floats(0.001, 10.0), st.floats(10.0, 1e6))
def test_pause_after_a_pause_is_that_of_one_failure_more(failures: int, first: float, longest: float) -> None:
    backoff = Backoff(first, longest)
    assert backoff.longer(backoff.seconds(failures)) == backoff.seconds(failures + 1)


def test_pause_after_one_longer_than_the_limit_is_the_longest() -> None:
    assert BACKOFF.longer(1000.0) == 30.0


@pytest.mark.parametrize(("spread", "low", "high"), [(jittered, 0.75, 1.25), (equal_jitter, 0.5, 1.0)])
def test_jitter_spreads_over_its_whole_range(
    spread: Callable[[float, random.Random], float], low: float, high: float
) -> None:
    rng = random.Random(1)
    found = [spread(10.0, rng) for _ in range(1000)]
    width = 10 * (high - low)
    assert 10 * low <= min(found) < 10 * low + width / 50
    assert 10 * high - width / 50 < max(found) <= 10 * high


@pytest.mark.parametrize("spread", [jittered, equal_jitter])
def test_jitter_comes_from_the_generator_passed(
    spread: Callable[[float, random.Random], float],
) -> None:
    assert spread(10.0, random.Random(7)) == spread(10.0, random.Random(7))
    assert spread(10.0, random.Random(7)) != spread(10.0, random.Random(8))
