"""What others do to the interface is seen at once by the kernel's news, and by reading where there are none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from tests.unit.clock import TestClock
from tests.unit.device import FixedPlan
from tests.unit.local import LocalClaim, Tunnels
from tests.unit.machine import PlayedMachine
from tests.unit.waiting import until

from wgmesh_agent.mesh.dataplane import interface_watch
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.mesh.dataplane.interface_watch import InterfaceWatch
from wgmesh_agent.mesh.dataplane.reconciler import Reconciler
from wgmesh_agent.mesh.dataplane.repair_rate_limit import Repairs
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.diff import RemovePeer
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.memory_backend import MemoryBackend
from wgmesh_agent.wireguard.model import InterfaceSpec

OWN, PEER = PrivateKey(bytes(32)), PublicKey(bytes([2]) * 32)
RANGES = (ip_network("10.232.0.0/16"),)
SPEC = InterfaceSpec("wg0", (ip_interface("10.232.0.1"),), RANGES, 1420)


class Blind(MemoryBackend):
    """Cannot be read while it is so."""

    blind = False

    async def fingerprint(self) -> int:
        if self.blind:
            raise KernelError("no netlink")
        return await super().fingerprint()


class WatchHarness:
    """A reconciler at work on an interface with one peer, and the watch of it."""

    def __init__(self) -> None:
        self.machine, self.clock, self.repairs = PlayedMachine(), TestClock(), Repairs("wg0")
        self.backend = Blind("wg0", lambda: 0.0)
        self.requested = Signal()
        device = DeviceCache(self.backend, self.requested, self.clock)
        ledger = Ledger(LocalClaim("me", OWN.public(), (ip_address("10.232.0.1"),), RANGES))
        ledger.accept(Claim("beta", PEER, (ip_address("10.232.0.2"),), ()), Origin.PEERS, 0.0)
        self.reconciler = Reconciler(
            self.backend,
            device,
            Tunnels(OWN),
            ledger,
            FixedPlan(SPEC),
            self.clock,
            self.machine.trigger,
            repairs=self.repairs,
        )
        self.beside: list[int] = []
        self.watch = InterfaceWatch(
            "wg0",
            self.reconciler,
            device,
            self.repairs,
            lambda: self.beside.append(threading.get_ident()),
            self.machine.interface_changes,
            self.clock,
        )


@pytest.fixture
async def harness(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WatchHarness]:
    monkeypatch.setattr(interface_watch, "READ_SECONDS", 0.005)
    monkeypatch.setattr(interface_watch, "SECONDS_A_PEER", 0.0)
    monkeypatch.setattr(interface_watch, "TOGETHER_SECONDS", 0.0)
    found = WatchHarness()
    await found.reconciler.reconcile()
    tasks = [asyncio.create_task(found.reconciler.run()), asyncio.create_task(found.watch.run())]
    yield found
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_peer_that_somebody_removes_is_back(harness: WatchHarness) -> None:
    await harness.backend.apply([RemovePeer(PEER)])
    await until(lambda: harness.backend.device is not None and PEER in harness.backend.device.peers)
    assert harness.repairs.made == 1


async def test_what_the_kernel_tells_of_has_all_of_it_put_right_off_the_event_loop(
    harness: WatchHarness,
) -> None:
    harness.machine.interface_news.put_nowait(None)
    await until(lambda: harness.beside)
    assert threading.get_ident() not in harness.beside


async def test_an_interface_that_cannot_be_read_is_looked_at(harness: WatchHarness) -> None:
    harness.backend.blind = True
    await until(lambda: harness.beside)


async def test_nothing_is_repaired_while_nobody_changes_anything(harness: WatchHarness) -> None:
    await asyncio.sleep(0.05)
    assert harness.beside == []
    assert harness.repairs.made == 0
