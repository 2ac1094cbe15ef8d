from __future__ import annotations

from wgmesh_agent.runtime.log_on_change import LogOnChange


def test_fault_is_logged_once_however_often_it_recurs() -> None:
    fault = LogOnChange()
    assert [fault.is_new("port in use") for _ in range(3)] == [True, False, False]


def test_fault_with_another_reason_is_logged() -> None:
    fault = LogOnChange()
    assert [fault.is_new(why) for why in ("a", "b", "a")] == [True, True, True]


def test_success_is_never_a_fault() -> None:
    fault = LogOnChange()
    assert [fault.is_new(why) for why in ("", "a", "")] == [False, True, False]


def test_fault_after_a_success_is_logged_again() -> None:
    fault = LogOnChange()
    assert fault.is_new("a")
    assert fault.is_over()
    assert fault.is_new("a")
    assert not fault.is_new("")
    assert fault.is_new("a")


def test_end_of_a_fault_is_logged_once() -> None:
    fault = LogOnChange()
    assert not fault.is_over()
    fault.is_new("a")
    assert [fault.is_over() for _ in range(3)] == [True, False, False]


def test_present_reason_is_known() -> None:
    fault = LogOnChange()
    fault.is_new("a")
    assert fault.why == "a"
    fault.is_over()
    assert fault.why == ""
