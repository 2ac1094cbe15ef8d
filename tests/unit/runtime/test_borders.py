"""Fences: whatever one unit of foreign input raises costs that unit, is counted, and is logged at a bounded rate."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from wgmesh_agent.runtime import borders
from wgmesh_agent.runtime.log_limit import MAX_LINES_PER_WINDOW

UNITS = borders.border("test units", "numbers that a test hands over")


class UnforeseenError(Exception):
    """An exception that no module of the agent names."""


def count(reason: str) -> int:
    return borders.rejected().get(("test units", reason), 0)


def test_a_unit_that_raises_is_counted_and_the_next_one_is_handled() -> None:
    before, handled = count("UnforeseenError"), []
    for unit in range(3):
        with UNITS.fence("n1") as item:
            if unit == 1:
                raise UnforeseenError("odd")
            handled.append(unit)
        assert (item.rejected is not None) == (unit == 1)
    assert handled == [0, 2]
    assert count("UnforeseenError") == before + 1


def test_what_is_addressed_to_the_task_or_named_as_passing_is_not_swallowed() -> None:
    for error, passing in ((asyncio.CancelledError(), ()), (UnforeseenError(), (UnforeseenError,))):
        with pytest.raises(type(error)), UNITS.fence("n1", passing=passing):
            raise error


def test_a_flood_is_counted_whole_and_logged_in_a_few_lines() -> None:
    before = count("Flooded")
    with capture_logs() as logs:
        for unit in range(10_000):
            UNITS.reject("Flooded", f"sender {unit} " + "x" * 1000, "odd")
    assert count("Flooded") == before + 10_000
    assert len(logs) <= MAX_LINES_PER_WINDOW + 1
    assert all(len(line["sender"]) <= borders.MAX_SENDER_CHARACTERS for line in logs)


def test_a_border_is_declared_once() -> None:
    assert borders.declared()["test units"] is UNITS
    with pytest.raises(ValueError):
        borders.border("test units", "again")
