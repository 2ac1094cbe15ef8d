"""How often what others cause may be logged, and what is remembered for it."""

from wgmesh_agent.runtime.log_limit import (
    MAX_LINES_PER_WINDOW,
    MAX_REMEMBERED,
    REPEAT_SECONDS,
    WINDOW_SECONDS,
    LogLimit,
    Permission,
)


def test_a_line_that_repeats_is_granted_once_an_hour() -> None:
    now = [0.0]
    limit = LogLimit(lambda: now[0])
    assert limit.ask("kind", "line").granted
    assert not limit.ask("kind", "line").granted
    now[0] = REPEAT_SECONDS
    assert limit.ask("kind", "line").granted


def test_a_kind_has_a_few_lines_a_minute_and_says_how_many_were_suppressed() -> None:
    now = [0.0]
    limit = LogLimit(lambda: now[0])
    granted = sum(limit.ask("kind", f"line {n}").granted for n in range(1000))
    assert granted == MAX_LINES_PER_WINDOW
    assert limit.ask("another kind", "line").granted
    now[0] = WINDOW_SECONDS
    assert limit.ask("kind", "one more") == Permission(True, 1000 - MAX_LINES_PER_WINDOW)


def test_what_is_remembered_of_a_flood_is_bounded() -> None:
    now = [0.0]
    limit = LogLimit(lambda: now[0])
    for number in range(3 * MAX_REMEMBERED):
        now[0] += WINDOW_SECONDS
        limit.ask("kind", f"line {number}")
    assert len(limit._logged) <= MAX_REMEMBERED
