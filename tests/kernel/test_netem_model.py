"""Real agents on kernel WireGuard in weather made by netem; `make chaos` runs more schedules."""

from __future__ import annotations

import pytest
from tests.chaos import hosts
from tests.chaos.fault_catalogue import HOSTS_BOUND_SECONDS, STORMY

pytestmark = pytest.mark.kernel


def test_a_mesh_survives_loss_delay_duplicates_and_reordering_with_agents_killed_and_a_one_way_cut() -> None:
    took, said = hosts.run(STORMY, has_netem=True)
    print(f"whole {took:.1f} s after the last fault; {said}")
    assert took <= HOSTS_BOUND_SECONDS
