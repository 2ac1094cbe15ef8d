"""Counts are exact, and the log is bounded."""

from __future__ import annotations

import logging

import pytest
from tests.unit.operator.harness import FakeClock

from wgmesh_operator.decisions.faults import Border, Fault
from wgmesh_operator.rejections import LINES_A_WINDOW, WINDOW_SECONDS, Rejections


def test_each_is_counted_by_border_and_type_and_the_log_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    rejections = Rejections(clock)
    for number in range(50):
        rejections.count(Fault(Border.OBJECT, f"WgMeshNode blue.n{number}", KeyError("x")))
    rejections.count(Fault(Border.REQUEST, "r", ValueError("y")))
    assert rejections.counts() == {"object: KeyError": 50, "signing request: ValueError": 1}
    assert len(caplog.messages) == LINES_A_WINDOW + 1
    caplog.clear()
    clock.seconds += WINDOW_SECONDS
    rejections.count(Fault(Border.OBJECT, "WgMeshNode blue.n0", KeyError("x")))
    assert caplog.messages == [
        "object rejected: 40 more in the last minute",
        "object rejected: WgMeshNode blue.n0: KeyError: 'x'",
    ]


def test_a_fence_passes_what_is_not_the_units_fault_and_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    rejections = Rejections(FakeClock())
    with pytest.raises(LookupError), rejections.fence(Border.ACTION, "x", passing=(LookupError,)):
        raise KeyError
    with pytest.raises(KeyboardInterrupt), rejections.fence(Border.ACTION, "x"):
        raise KeyboardInterrupt
    assert rejections.counts() == {}
