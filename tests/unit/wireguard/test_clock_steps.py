"""Steps of the wall clock, remembered for as long as sessions last that were stamped before them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.wireguard.clock_steps import SAME_CLOCK_SECONDS, ClockSteps, Span

HOUR = 3600.0


class Kept(list[list[Span]]):
    """What was kept, the last at the end."""

    def __call__(self, spans: Sequence[Span]) -> bool:
        self.append(list(spans))
        return True


def test_a_clock_that_is_never_stepped_is_kept_once() -> None:
    kept = Kept()
    clock = ClockSteps((), kept)
    for now in (10.0, 25.0, 40.2):
        clock.update(1000.0 + now, now)
    assert kept == [[(10.0, 1000.0)]]


def test_what_could_not_be_kept_is_tried_again() -> None:
    answers = iter([False, False, True])
    clock = ClockSteps((), lambda _: next(answers))
    for now in (10.0, 25.0, 40.0, 55.0):
        clock.update(1000.0 + now, now)
    assert not list(answers)


def test_spans_that_ended_before_any_session_began_are_forgotten() -> None:
    kept = Kept()
    clock = ClockSteps((), kept)
    for now, ahead in ((10.0, HOUR), (20.0, 0.0), (150.0, -HOUR), (210.0, 0.0)):
        clock.update(now + ahead, now)
    assert kept[-1] == [(20.0, 0.0), (150.0, -HOUR), (210.0, 0.0)]


def test_a_stamp_no_remembered_clock_made_is_from_before_the_last_step_seen() -> None:
    clock = ClockSteps([(10.0, HOUR)])
    clock.update(50.0, 50.0)
    assert clock.stamped_at(2 * HOUR) == 50.0


@given(st.lists(st.tuples(st.floats(2, 60), st.floats(-HOUR, HOUR)), min_size=1, max_size=8), st.data())
def test_a_stamp_is_never_taken_to_be_older_than_it_is(
    steps: list[tuple[float, float]], data: st.DataObject
) -> None:
    clock, now, stamps = ClockSteps(), 100.0, []
    for pause, ahead in steps:
        clock.update(now + ahead, now)
        made = now + data.draw(st.floats(0.0, pause))
        stamps.append((made + ahead, made))
        now += pause
    ahead = min(0.0, *(ahead for _, ahead in steps)) - HOUR
    clock.update(now + ahead, now)
    for stamp, made in stamps:
        assert clock.stamped_at(stamp) >= made - SAME_CLOCK_SECONDS - 0.001 or now - made > 180.0
