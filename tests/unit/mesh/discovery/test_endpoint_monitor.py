"""This node's advertised endpoint: checked when it may have changed, and not for every container's address."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs
from tests.unit.clock import TestClock
from tests.unit.factories import mesh_record
from tests.unit.local import local_node

from wgmesh_agent.gossip.wire.tags import MAX_META_BYTES, encode_tags
from wgmesh_agent.mesh.discovery import endpoint_monitor
from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint
from wgmesh_agent.mesh.discovery.endpoint_monitor import EndpointMonitor
from wgmesh_agent.mesh.discovery.local_addresses import LocalAddresses
from wgmesh_agent.runtime.backoff import Backoff
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.scaling import SCALE_ABOVE_MEMBERS
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress

HOME, AWAY, OUTER = (Endpoint(ip_address(one), 54540) for one in ("192.0.2.1", "10.0.0.9", "203.0.113.1"))
FAR = Endpoint(ip_address("2001:db8:1:2:3:4:5:6"), 54540)
OWN_KEY = PrivateKey.generate(os.urandom)


class Cards:
    """This machine's addresses."""

    def __init__(self) -> None:
        self.held = [HOME.address, AWAY.address]
        self.looks = 0
        self.takes_seconds = 0.0

    async def reachable(self) -> list[tuple[str, IPAddress]]:
        self.looks += 1
        await asyncio.sleep(self.takes_seconds)
        return [("eth0", one) for one in self.held]

    async def candidates(self) -> list[tuple[str, IPAddress]]:
        return [("eth0", one) for one in self.held]


class Ground:
    """This machine, and members that say where they see it."""

    def __init__(self) -> None:
        self.base: Endpoint | None = HOME
        self.seen: list[Endpoint] = []
        self.asked = self.answered = self.located = 0
        self.local, self.cards, self.clock = local_node(mesh_record(), OWN_KEY), Cards(), TestClock()
        self.members = ["n"] * 3
        news = Signal()
        self.suspect = Signal(news)
        self.addresses = LocalAddresses(self.cards, news)
        self.monitor = EndpointMonitor(
            self.local,
            self.addresses,
            self,
            self.members,
            self.locate,
            self.clock,
            news=news,
            suspect=self.suspect,
        )

    async def locate(self) -> Endpoint:
        self.located += 1
        if self.base is None:
            raise NoUsableEndpoint("no address")
        return self.base

    async def observed_endpoints(self, node: str) -> tuple[list[Endpoint], list[Endpoint]]:
        self.asked += 1
        self.answered += bool(self.seen)
        return self.seen, []

    async def settle(self) -> None:
        """Returns when members have answered twice: after that it asks no more for minutes."""
        await self.until(lambda: self.answered >= 2)
        self.answered = 0

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def an_address_changes(self) -> None:
        """Returns when it was checked, twice."""
        for _ in range(2):
            located = self.located
            self.addresses.invalidate()
            await self.until(lambda: self.located > located)  # noqa: B023


@pytest.fixture
async def ground(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    found = Ground()
    for name in ("SETTLE_SECONDS", "CONFIRM_AFTER_SECONDS"):
        monkeypatch.setattr(endpoint_monitor, name, 0.001)
    monkeypatch.setattr(endpoint_monitor, "UNANSWERED", Backoff(0.002, 60.0))
    task = asyncio.create_task(found.monitor.run())
    yield found
    task.cancel()


async def test_it_asks_until_somebody_answers_and_once_more(ground: Ground) -> None:
    await ground.until(lambda: ground.asked >= 4)
    ground.seen = [OUTER]
    await ground.until(lambda: ground.local.behind_nat)
    assert ground.local.endpoint == OUTER
    await ground.settle()
    asked = ground.asked
    await ground.an_address_changes()
    assert ground.asked == asked


async def test_members_that_ask_at_once_for_its_addresses_share_one_look_at_them(ground: Ground) -> None:
    ground.seen = [HOME]
    await ground.settle()
    ground.cards.held, ground.cards.takes_seconds = [HOME.address], 0.01
    ground.addresses.forget()
    ground.cards.looks = 0
    found = await asyncio.gather(*(ground.addresses.reachable() for _ in range(50)))
    assert found == [[HOME.address]] * 50
    assert ground.cards.looks == 1


async def test_what_changes_while_it_is_read_is_read_again(ground: Ground) -> None:
    ground.seen = [HOME]
    await ground.settle()
    ground.cards.takes_seconds = 0.05
    ground.addresses.forget()
    look = asyncio.create_task(ground.addresses.reachable())
    await asyncio.sleep(0)
    ground.addresses.forget()
    await look
    ground.cards.held = [AWAY.address]
    assert await ground.addresses.reachable() == [AWAY.address]
    assert ground.addresses.latest == {AWAY.address}


async def test_a_node_that_moves_tells_the_new_address_before_anybody_answers(ground: Ground) -> None:
    ground.seen = [HOME]
    await ground.settle()
    ground.base, ground.seen = AWAY, []
    ground.addresses.invalidate()
    await ground.until(lambda: ground.local.endpoint != HOME)
    assert (ground.local.endpoint, ground.local.behind_nat, ground.answered) == (AWAY, False, 0)


async def test_where_it_was_seen_before_it_moved_is_not_where_it_is(ground: Ground) -> None:
    ground.seen = [HOME]
    await ground.settle()
    ground.base, ground.cards.held, ground.seen = AWAY, [AWAY.address], [HOME, HOME]
    ground.addresses.invalidate()
    asked = ground.asked
    await ground.until(lambda: ground.asked >= asked + 3)
    assert (ground.local.endpoint, ground.local.behind_nat) == (AWAY, False)
    ground.seen = [HOME, HOME, AWAY]
    await ground.settle()
    assert (ground.local.endpoint, ground.local.behind_nat) == (AWAY, False)


async def test_addresses_that_are_not_its_own_way_out_ask_nobody(ground: Ground) -> None:
    ground.seen = [HOME]
    await ground.settle()
    asked = ground.asked
    await ground.an_address_changes()
    assert ground.asked == asked


async def test_a_silent_peer_is_a_reason_to_ask_but_not_all_the_time(ground: Ground) -> None:
    ground.seen = [HOME]
    await ground.settle()
    ground.seen = [OUTER]
    ground.suspect.notify()
    await ground.until(lambda: ground.local.behind_nat)
    await ground.settle()
    asked = ground.asked
    ground.suspect.notify()
    await ground.an_address_changes()
    assert ground.asked == asked


async def test_the_larger_the_mesh_the_seldomer_a_silent_peer_is_a_reason(ground: Ground) -> None:
    ground.seen = [HOME]
    ground.members.extend(["n"] * (50 * SCALE_ABOVE_MEMBERS - len(ground.members)))
    await ground.settle()

    async def asks_twice_when_in_doubt() -> None:
        asked = ground.asked
        ground.suspect.notify()
        await ground.until(lambda: ground.asked == asked + 2)

    await asks_twice_when_in_doubt()
    ground.clock.seconds += 2 * endpoint_monitor.MIN_RECHECK_SECONDS
    asked = ground.asked
    ground.suspect.notify()
    await ground.an_address_changes()
    assert ground.asked == asked
    ground.clock.seconds += 50 * endpoint_monitor.MIN_RECHECK_SECONDS
    await asks_twice_when_in_doubt()


async def test_a_machine_without_any_address_goes_on_looking(ground: Ground) -> None:
    ground.base = None
    ground.addresses.invalidate()
    await ground.until(lambda: ground.located >= 4)
    ground.base, ground.seen = AWAY, [AWAY]
    ground.addresses.invalidate()
    await ground.until(lambda: ground.local.endpoint == AWAY and ground.answered)
    assert not ground.local.behind_nat


async def test_an_endpoint_that_has_no_room_in_the_tags_is_logged_and_the_former_stays(
    ground: Ground,
) -> None:
    ground.seen = [HOME]
    await ground.settle()
    room = MAX_META_BYTES - len(encode_tags(ground.local.tags()))
    ground.local.set_user_tags({"large": "x" * (room - len("large") - 4)})
    with capture_logs() as logs:
        ground.base = FAR
        ground.addresses.invalidate()
        await ground.until(lambda: any("no room" in line.get("error", "") for line in logs))
    assert ground.local.endpoint == HOME
