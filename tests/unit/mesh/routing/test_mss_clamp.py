"""The table that clamps segments: there while this machine forwards for the mesh, and only then."""

from __future__ import annotations

import asyncio
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.clock import TestClock
from tests.unit.device import FixedPlan
from tests.unit.machine import PlayedMachine
from tests.unit.waiting import until

from wgmesh_agent.mesh.routing.mss_clamp import CHECK_SECONDS, MSSClamp, is_forwarding
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.model import InterfaceSpec

RANGES = (ip_network("10.232.0.0/16"),)
SPEC = InterfaceSpec("wgblue", (ip_interface("10.232.0.1"),), RANGES, 1420)
MADE, REMOVED = "maxseg", "delete table inet wgmesh-wgblue"


class ClampHarness:
    """A clamp of wgblue; `forwards` switches forwarding of the whole machine."""

    def __init__(self, folder: Path) -> None:
        self.net, self.clock, self.changes = folder / "net", TestClock(), Signal()
        (self.net / "ipv4").mkdir(parents=True)
        self.machine = PlayedMachine(self.net)
        self.forwards(is_on=False)
        self.clamp = MSSClamp("wgblue", FixedPlan(SPEC), self.changes, self.machine, self.clock, self.net)

    def forwards(self, *, is_on: bool) -> None:
        (self.net / "ipv4/ip_forward").write_text("1\n" if is_on else "0\n")


@pytest.fixture
def harness(tmp_path: Path) -> ClampHarness:
    return ClampHarness(tmp_path)


async def test_a_machine_that_forwards_gets_the_table_once(harness: ClampHarness) -> None:
    harness.forwards(is_on=True)
    await harness.clamp.apply(SPEC)
    await harness.clamp.apply(SPEC)
    (text,) = harness.machine.tables
    assert MADE in text
    assert harness.machine.listed == ["wgmesh-wgblue"]


async def test_a_table_that_somebody_took_away_is_put_back_when_it_is_checked(harness: ClampHarness) -> None:
    harness.forwards(is_on=True)
    await harness.clamp.apply(SPEC)
    harness.machine.has_table = False
    await harness.clamp.apply(SPEC, check=False)
    assert len(harness.machine.tables) == 1
    await harness.clamp.apply(SPEC, check=True)
    assert len(harness.machine.tables) == 2


async def test_a_machine_that_forwards_no_more_loses_the_table(harness: ClampHarness) -> None:
    harness.forwards(is_on=True)
    await harness.clamp.apply(SPEC)
    harness.forwards(is_on=False)
    await harness.clamp.apply(SPEC)
    assert REMOVED in harness.machine.tables[-1]
    await harness.clamp.apply(SPEC)
    assert len(harness.machine.tables) == 2


async def test_without_the_program_there_is_nothing_to_take_away(harness: ClampHarness) -> None:
    harness.machine.has_nft = False
    assert await harness.clamp.remove()
    assert harness.machine.tables == []


async def test_a_fault_is_said_once_and_tried_again(harness: ClampHarness) -> None:
    harness.forwards(is_on=True)
    harness.machine.nft_error = "Operation not permitted"
    with capture_logs() as logs:
        await harness.clamp.apply(SPEC)
        await harness.clamp.apply(SPEC)
    assert [line["error"] for line in logs if line["log_level"] == "warning"] == ["Operation not permitted"]
    harness.machine.nft_error = ""
    await harness.clamp.apply(SPEC)
    assert len(harness.machine.tables) == 1


async def test_it_looks_after_every_change_and_at_the_table_itself_once_a_minute(
    harness: ClampHarness,
) -> None:
    harness.forwards(is_on=True)
    task = asyncio.create_task(harness.clamp.run())
    await until(lambda: harness.machine.tables)
    harness.machine.has_table = False
    harness.clock.seconds += CHECK_SECONDS
    harness.changes.notify()
    await until(lambda: len(harness.machine.tables) == 2)
    task.cancel()


@pytest.mark.parametrize(
    ("switch", "value", "forwards"),
    [
        ("ipv4/ip_forward", "1", True),
        ("ipv4/conf/wgblue/forwarding", "1", True),
        ("ipv6/conf/all/forwarding", "2", True),
        ("ipv4/conf/wgother/forwarding", "1", False),
        ("ipv6/conf/all/forwarding", "", False),
    ],
)
def test_any_of_the_kernel_s_switches_makes_a_machine_forward(
    tmp_path: Path, switch: str, value: str, forwards: bool
) -> None:
    path = tmp_path / switch
    path.parent.mkdir(parents=True)
    path.write_text(value)
    assert is_forwarding("wgblue", tmp_path) is forwards
