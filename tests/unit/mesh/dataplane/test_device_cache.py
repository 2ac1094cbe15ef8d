"""The device for all components but the reconciler: one read for all concurrent callers, and a pass to wait for."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.clock import TestClock

from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.memory_backend import MemoryBackend
from wgmesh_agent.wireguard.model import Device


class Slow(MemoryBackend):
    """Counts its reads, each of which takes a turn of the loop."""

    reads = 0

    async def read(self) -> Device:
        self.reads += 1
        await asyncio.sleep(0)
        return Device(f"read {self.reads}")


class Ground:
    def __init__(self) -> None:
        self.backend, self.requested, self.clock = Slow("wg0", lambda: 0.0), Signal(), TestClock()
        self.cache = DeviceCache(self.backend, self.requested, self.clock)


async def test_readers_at_once_share_one_read_that_is_young_enough() -> None:
    ground = Ground()
    found = await asyncio.gather(*(ground.cache.read(0.5) for _ in range(50)))
    assert {device.name for device in found} == {"read 1"}
    ground.clock.seconds += 0.6
    assert (await ground.cache.read(0.5)).name == "read 2"


async def test_who_accepts_no_age_has_its_own_read() -> None:
    ground = Ground()
    await ground.cache.read(0.5)
    ground.clock.seconds += 0.001
    assert (await ground.cache.read()).name == "read 2"


async def test_after_a_pass_nobody_is_given_what_was_read_before_it() -> None:
    ground = Ground()
    await ground.cache.read(60.0)
    ground.cache.passed(ground.cache.begin_pass(), Device("passed"))
    assert (await ground.cache.read(60.0)).name == "read 2"
    assert ground.cache.latest is not None
    assert ground.cache.latest.name == "passed"


async def test_who_waits_for_a_pass_is_told_of_one_that_began_after_it_asked() -> None:
    ground = Ground()
    running = ground.cache.begin_pass()
    waiter = asyncio.create_task(ground.cache.converged())
    await asyncio.sleep(0)
    assert ground.requested.generation == ground.cache.urgent.generation == 1
    ground.cache.passed(running, Device("before"))
    await asyncio.sleep(0)
    assert not waiter.done()
    ground.cache.passed(ground.cache.begin_pass(), Device("after"))
    assert (await waiter).name == "after"


async def test_who_waits_for_a_pass_that_fails_is_told_why() -> None:
    ground = Ground()
    waiters = [asyncio.create_task(ground.cache.converged()) for _ in range(2)]
    await asyncio.sleep(0)
    waiters[1].cancel()
    await asyncio.sleep(0)
    ground.cache.failed(ground.cache.begin_pass(), BackEndError("no such device"))
    with pytest.raises(BackEndError, match="no such device"):
        await waiters[0]


async def test_who_waits_for_a_pass_that_is_cancelled_waits_no_more() -> None:
    ground = Ground()
    waiter = asyncio.create_task(ground.cache.converged())
    await asyncio.sleep(0)
    ground.cache.failed(ground.cache.begin_pass(), asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await waiter
