"""How long is waited for answers: as long as they take, within bounds."""

from __future__ import annotations

import pytest

from wgmesh_agent.gossip.memberlist.rtt_estimator import AckTimeEstimator

TIMEOUT = 0.5


def after(*answers: float) -> float:
    """The stretch of half a second once these have come."""
    time = AckTimeEstimator(TIMEOUT, 8)
    for seconds in answers:
        time.observe(seconds)
    return time.scale


def test_nothing_is_stretched_where_answers_are_quick() -> None:
    assert after() == 1
    assert after(*[0.05] * 50) == 1


def test_answers_that_come_late_are_waited_for() -> None:
    assert 1.9 < after(*[1.0] * 50) < 2.1


def test_answers_that_vary_are_waited_for_beyond_the_latest() -> None:
    answers = [0.1, 0.1, 0.1, 0.9] * 20
    assert after(*answers) * TIMEOUT > max(answers)


def test_one_late_answer_is_soon_forgotten() -> None:
    assert after(3.0) > 1
    assert after(3.0, *[0.01] * 20) == 1
    assert after(3600.0, *[0.01] * 20) == 1


@pytest.mark.parametrize("seconds", [100.0, 1e300])
def test_there_is_a_longest_wait(seconds: float) -> None:
    assert after(*[seconds] * 3) == 8
