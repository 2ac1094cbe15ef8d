"""Real agents on hosts of namespaces keep a mesh's promises; `make chaos` runs more schedules."""

from __future__ import annotations

import pytest
from tests.chaos import hosts
from tests.chaos.fault_catalogue import HOSTS_BOUND_SECONDS
from tests.chaos.schedule import Fault, Kind, Schedule

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]
SCHEDULE = Schedule(
    -1,
    ("n1", "n2", "n3", "n4"),
    ("n1",),
    (
        Fault(Kind.DISK_FULL, 0.0, 8.0, ("n2",)),
        Fault(Kind.KILL, 0.5, 3.0, ("n1", "n2", "n3")),
        Fault(Kind.ONE_WAY, 1.0, 7.0, ("n2",), ("n4",)),
        Fault(Kind.REBOOT, 4.0, 2.0, ("n4",)),
    ),
)


@pytest.mark.slow
def test_a_mesh_survives_a_full_disk_killed_agents_a_one_way_cut_and_a_reboot_at_once() -> None:
    took, said = hosts.run(SCHEDULE)
    print(f"whole {took:.1f} s after the last fault; {said}")
    assert took <= HOSTS_BOUND_SECONDS
