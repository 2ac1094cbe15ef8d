from __future__ import annotations

from wgmesh_agent.runtime.reminders import Reminders


def logged(reminders: Reminders, why: str, since: int, until: int) -> list[int]:
    return [second for second in range(since, until) if reminders.is_due(why, second)]


def test_lasting_fault_is_logged_with_backoff() -> None:
    found = logged(Reminders(), "no route", 0, 16000)
    assert found == [0, 120, 360, 840, 1800, 3720, 7320, 10920, 14520]


def test_another_reason_is_logged_at_once_and_resets_the_backoff() -> None:
    reminders = Reminders()
    assert logged(reminders, "no route", 0, 500) == [0, 120, 360]
    assert logged(reminders, "no address", 500, 700) == [500, 620]


def test_end_is_reported_once_and_the_next_fault_is_logged() -> None:
    reminders = Reminders()
    assert not reminders.over()
    assert reminders.is_due("no route", 0.0)
    assert [reminders.over(), reminders.over()] == [True, False]
    assert logged(reminders, "no route", 1, 200) == [1, 121]
