"""Refused claims: all counted, few logged."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.runtime.log_limit import MAX_LINES_PER_WINDOW, REPEAT_SECONDS, WINDOW_SECONDS


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals(clock: Clock) -> RejectionLog:
    return RejectionLog(clock)


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    with capture_logs() as captured:
        yield captured


def test_every_refusal_counts_and_one_that_repeats_is_logged_once_an_hour(
    refusals: RejectionLog, clock: Clock, lines: list[EventDict]
) -> None:
    for _ in range(50):
        refusals.record("name_bound", "n2 is n2's")
    assert refusals.counts == {"name_bound": 50}
    assert [line["error"] for line in lines] == ["n2 is n2's"]
    clock.now += REPEAT_SECONDS
    refusals.record("name_bound", "n2 is n2's")
    assert len(lines) == 2


def test_a_flood_of_ever_new_claims_makes_a_few_lines_a_minute_and_says_how_many_it_kept_back(
    refusals: RejectionLog, clock: Clock, lines: list[EventDict]
) -> None:
    for number in range(100_000):
        refusals.record("address_bound", f"claim {number}")
    assert refusals.counts["address_bound"] == 100_000
    assert len(lines) == MAX_LINES_PER_WINDOW
    clock.now += WINDOW_SECONDS
    refusals.record("address_bound", "one more")
    assert [line["event"] for line in lines[MAX_LINES_PER_WINDOW:]] == [
        "rejected claims suppressed",
        "claim rejected",
    ]
    assert lines[MAX_LINES_PER_WINDOW]["how_many"] == 100_000 - MAX_LINES_PER_WINDOW


def test_a_flood_of_one_reason_hides_no_other(refusals: RejectionLog, lines: list[EventDict]) -> None:
    for number in range(1000):
        refusals.record("malformed_tags", f"claim {number}")
    refusals.record("own_key", "somebody claims this node's own key")
    assert lines[-1]["reason"] == "own_key"
