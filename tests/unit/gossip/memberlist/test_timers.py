"""Deadlines fire in order, once, and cost nothing when cancelled."""

from __future__ import annotations

from wgmesh_agent.gossip.memberlist.timers import Timers


def test_callbacks_run_by_deadline_then_by_age() -> None:
    timers, ran = Timers(), []
    timers.at(2.0, lambda _: ran.append("late"))
    timers.at(1.0, lambda _: ran.append("first"))
    timers.at(1.0, lambda _: ran.append("second"))
    timers.run_due(1.5)
    assert ran == ["first", "second"]
    assert timers.next_deadline() == 2.0
    timers.run_due(2.0)
    assert ran == ["first", "second", "late"]
    assert timers.next_deadline() is None


def test_a_callback_may_set_what_is_due_at_once() -> None:
    timers, ran = Timers(), []

    def outer(now: float) -> None:
        timers.at(now, lambda _: ran.append("inner"))

    timers.at(1.0, outer)
    timers.run_due(1.0)
    assert ran == ["inner"]


def test_a_cancelled_timer_neither_fires_nor_is_next() -> None:
    timers, ran = Timers(), []
    doomed = timers.at(1.0, lambda _: ran.append("doomed"))
    timers.at(2.0, lambda _: ran.append("kept"))
    doomed.cancel()
    doomed.cancel()
    assert timers.next_deadline() == 2.0
    timers.run_due(3.0)
    assert ran == ["kept"]


def test_a_hundred_thousand_cancelled_timers_do_not_pile_up() -> None:
    timers = Timers()
    timers.at(1e9, lambda _: None)
    for index in range(100_000):
        timers.at(1e6 + index, lambda _: None).cancel()
    assert len(timers._heap) < 1000
    assert timers.next_deadline() == 1e9
