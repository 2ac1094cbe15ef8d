"""Where this node says that it is: looked at when it may have changed, and not for every container's address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from wgmesh_agent.mesh.discovery import endpoint_monitor
from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint
from wgmesh_agent.mesh.discovery.endpoint_monitor import EndpointMonitor
from wgmesh_agent.mesh.discovery.nat_detection import ObservedEndpoint
from wgmesh_agent.runtime.backoff import Backoff
from wgmesh_agent.runtime.scaling import SCALE_ABOVE_MEMBERS
from wgmesh_agent.wireguard.model import Endpoint, IPAddress

HOME, AWAY, OUTER = (Endpoint(ip_address(one), 54540) for one in ("192.168.1.2", "10.0.0.9", "203.0.113.1"))


class Ground:
    def __init__(self) -> None:
        self.base: Endpoint | None = HOME
        self.seen: list[Endpoint] = []
        self.addresses = [HOME, AWAY]
        self.asked = 0
        self.located = 0
        self.told: list[ObservedEndpoint] = []
        self.members = 3
        self.location = EndpointMonitor(
            self.locate, self.ask, lambda: self.members, self.told.append, given=False
        )

    async def locate(self) -> Endpoint:
        self.located += 1
        if self.base is None:
            raise NoUsableEndpoint("no address")
        return self.base

    async def ask(self) -> list[Endpoint]:
        self.asked += 1
        return self.seen

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def an_address_changes(self) -> None:
        """Returns when it was looked at, twice."""
        for _ in range(2):
            located = self.located
            self.location.addresses_changed()
            await self.until(lambda: self.located > located)  # noqa: B023


@pytest.fixture
async def ground(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    async def reachable() -> list[tuple[str, IPAddress]]:
        return [("eth0", one.address) for one in found.addresses]

    found = Ground()
    monkeypatch.setattr(endpoint_monitor, "reachable_addresses", reachable)
    for name in ("SETTLE_SECONDS", "CONFIRM_AFTER_SECONDS"):
        monkeypatch.setattr(endpoint_monitor, name, 0.001)
    monkeypatch.setattr(endpoint_monitor, "UNANSWERED", Backoff(0.002, 60.0))
    task = asyncio.create_task(found.location.run())
    yield found
    task.cancel()


async def test_it_asks_until_somebody_answers_and_once_more(ground: Ground) -> None:
    await ground.until(lambda: ground.asked >= 4)
    ground.seen = [OUTER]
    await ground.until(lambda: ground.told[-1].behind_nat)
    assert ground.told[-1] == ObservedEndpoint(OUTER, behind_nat=True)
    await ground.until(lambda: len(ground.told) >= 3)
    asked = ground.asked
    await ground.an_address_changes()
    assert ground.asked == asked


async def test_members_that_ask_at_once_for_its_addresses_share_one_look_at_them(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    async def slowly() -> list[tuple[str, IPAddress]]:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.01)
        return [("eth0", HOME.address)]

    ground.seen = [HOME]
    await ground.until(lambda: len(ground.told) >= 3)
    monkeypatch.setattr(endpoint_monitor, "reachable_addresses", slowly)
    ground.location.addresses_changed()
    found = await asyncio.gather(*(ground.location.local_addresses() for _ in range(50)))
    assert found == [[HOME.address]] * 50
    assert looks == 1


async def test_a_node_that_moves_tells_the_new_address_before_anybody_answers(ground: Ground) -> None:
    ground.seen = [HOME]
    await ground.until(lambda: len(ground.told) >= 3)
    ground.base, ground.seen = AWAY, []
    ground.location.addresses_changed()
    await ground.until(lambda: ground.told[-1].endpoint != ground.told[0].endpoint)
    assert ground.told[-1] == ObservedEndpoint(AWAY, behind_nat=None)


async def test_where_it_was_seen_before_it_moved_is_not_where_it_is(ground: Ground) -> None:
    ground.seen = [HOME]
    await ground.until(lambda: len(ground.told) >= 3)
    ground.base, ground.addresses, ground.seen = AWAY, [AWAY], [HOME, HOME]
    ground.location.addresses_changed()
    asked = ground.asked
    await ground.until(lambda: ground.asked >= asked + 3)
    assert ground.told[-1] == ObservedEndpoint(AWAY, behind_nat=None)
    ground.seen = [HOME, HOME, AWAY]
    await ground.until(lambda: ground.told[-1].behind_nat is False)
    assert ground.told[-1].endpoint == AWAY


async def test_addresses_that_are_not_its_own_way_out_ask_nobody(ground: Ground) -> None:
    ground.seen = [HOME]
    await ground.until(lambda: len(ground.told) >= 3)
    asked = ground.asked
    await ground.an_address_changes()
    assert ground.asked == asked


async def test_a_silent_peer_is_a_reason_to_ask_but_not_all_the_time(ground: Ground) -> None:
    ground.seen = [HOME]
    await ground.until(lambda: len(ground.told) >= 3)
    ground.seen = [OUTER]
    ground.location.invalidate()
    await ground.until(lambda: ground.told[-1].behind_nat)
    await ground.until(lambda: len(ground.told) >= 5)
    asked = ground.asked
    ground.location.invalidate()
    await ground.an_address_changes()
    assert ground.asked == asked


async def test_the_larger_the_mesh_the_seldomer_a_silent_peer_is_a_reason(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, ground.members, ground.seen = 1000.0, 50 * SCALE_ABOVE_MEMBERS, [HOME]
    await ground.until(lambda: len(ground.told) >= 3)
    monkeypatch.setattr(endpoint_monitor, "time", SimpleNamespace(monotonic=lambda: now))

    async def asks_twice_when_in_doubt() -> None:
        asked = ground.asked
        ground.location.invalidate()
        await ground.until(lambda: ground.asked == asked + 2)

    await asks_twice_when_in_doubt()
    now += 2 * endpoint_monitor.MIN_RECHECK_SECONDS
    asked = ground.asked
    ground.location.invalidate()
    await ground.an_address_changes()
    assert ground.asked == asked
    now += 50 * endpoint_monitor.MIN_RECHECK_SECONDS
    await asks_twice_when_in_doubt()


async def test_a_machine_without_any_address_goes_on_looking(ground: Ground) -> None:
    ground.base = None
    ground.location.addresses_changed()
    await ground.until(lambda: ground.located >= 4)
    ground.base, ground.seen = AWAY, [AWAY]
    ground.location.addresses_changed()
    await ground.until(
        lambda: (
            ground.told
            and ground.told[-1].endpoint.address.is_private
            and ground.told[-1].behind_nat is False
        )
    )
    assert ground.told[-1].endpoint == AWAY
