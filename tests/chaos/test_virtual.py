"""Agents in virtual time keep a mesh's promises whatever happens to them; `make chaos` runs many more schedules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.chaos import fault_catalogue, virtual_mesh
from tests.chaos.fault_catalogue import NAMED, VIRTUAL, VIRTUAL_BOUND_SECONDS
from tests.chaos.invariants import Broken
from tests.chaos.schedule import Fault, Kind, Schedule, draw

pytestmark = pytest.mark.timeout(300)
SEEDS = (4, 14, 15, 22, 23, 36, 42, 49, 55)
RUN = Path(__file__).with_name("run.py")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mesh_survives_the_schedule(seed: int) -> None:
    outcome = virtual_mesh.run(draw(seed, VIRTUAL), VIRTUAL_BOUND_SECONDS)
    assert outcome.recovery <= VIRTUAL_BOUND_SECONDS
    assert outcome.pings > 0


@pytest.mark.parametrize(
    "name",
    [pytest.param("HOUR_APART", marks=pytest.mark.slow), "NO_DOOR", "FORGETFUL", "NEWCOMERS", "SET_BACK"],
)
def test_a_mesh_survives_what_once_broke_one(name: str) -> None:
    schedule: Schedule = getattr(fault_catalogue, name)
    assert NAMED[schedule.seed] is schedule
    virtual_mesh.run(schedule, VIRTUAL_BOUND_SECONDS)


def test_a_seed_runs_the_same_whatever_the_hashes_are() -> None:
    def trace(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, str(RUN), "virtual", "--seed", "63"]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.partition("trace ")[2]

    first, second = trace("1"), trace("2")
    assert first
    assert first == second


def test_a_broken_promise_names_the_seed_the_schedule_and_how_to_see_it_again() -> None:
    schedule = Schedule(77, ("n1", "n2", "n3"), ("n1",), (Fault(Kind.PARTITION, 1, 60, ("n2",)),))
    with pytest.raises(Broken) as caught:
        virtual_mesh.run(schedule, bound=0.0)
    text = str(caught.value)
    assert "not whole again within 0 s" in text
    assert "n2" in text
    assert str(schedule) in text
    assert "tests/chaos/run.py virtual --seed 77" in text


def test_an_interrupted_link_between_healthy_nodes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out = virtual_mesh.World.carry_out

    def sabotage(self: virtual_mesh.World, fault: Fault, begins: bool) -> None:
        carry_out(self, fault, begins)
        # What no agent would do: the tunnel between the two who have nothing to do with it forgets its sessions.
        device = self.machines["n3"].tunnel
        device.deaf = True

    monkeypatch.setattr(virtual_mesh.World, "carry_out", sabotage)
    schedule = Schedule(78, ("n1", "n2", "n3"), ("n1",), (Fault(Kind.KILL, 20, 30, ("n2",)),))
    with pytest.raises(Broken, match="was lost, though nothing had been in its way"):
        virtual_mesh.run(schedule, VIRTUAL_BOUND_SECONDS)
