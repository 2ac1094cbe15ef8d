"""A machine that was suspended: its clock for sessions went on."""

from __future__ import annotations

import time

from wgmesh_agent.runtime import boot_clock


def test_ages_are_counted_by_a_clock_that_goes_on_in_suspend() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= boot_clock.seconds() <= time.clock_gettime(time.CLOCK_BOOTTIME)
