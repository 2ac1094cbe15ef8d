"""Events of gossip are handled one by one: one that cannot be handled costs itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs
from tests.unit.clock import TestClock
from tests.unit.members import PlayedProbing

from wgmesh_agent.agent.gossip_events import STRANGERS_A_MINUTE, GossipEventDispatcher, NameConflictLost
from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.serf.events import (
    Member,
    MemberFailed,
    MemberJoined,
    MemberUpdated,
    NameConflict,
    UserEventReceived,
)
from wgmesh_agent.gossip.wire.endpoint import Endpoint
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.endpoint_flaps import EndpointFlapDetector
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.runtime.change_signal import Signal


class Odd(Exception):
    """An exception that no code foresees."""


@pytest.fixture
def gossip() -> GossipNode:
    return GossipNode(SerfConfig("own", ip_address("127.0.0.1"), 0), keyring=None)


class Bindings(MembershipTracker):
    """Has n2 bound, and nothing else of a membership."""

    def __init__(self) -> None: ...

    def is_bound(self, name: str) -> bool:
        return name == "n2"

    def on_member_update(self, member: Member) -> None:
        """Nothing is bound by it."""


def listening(gossip: GossipNode, **user_events: Callable[[bytes], object]) -> GossipEventDispatcher:
    return GossipEventDispatcher(
        "own",
        gossip,
        Bindings(),
        PlayedProbing(),
        EndpointFlapDetector(),
        RejectionLog(),
        Signal(),
        user_events,
        TestClock(),
    )


def of_bound_members(gossip: GossipNode, wandering: EndpointFlapDetector) -> GossipEventDispatcher:
    return GossipEventDispatcher(
        "own", gossip, Bindings(), PlayedProbing(), wandering, RejectionLog(), Signal(), {}, TestClock()
    )


def event(name: str) -> UserEventReceived:
    return UserEventReceived(1, name, b"payload", False)


async def test_an_event_that_cannot_be_handled_costs_itself(gossip: GossipNode) -> None:
    def odd(payload: bytes) -> None:
        raise Odd

    handled = asyncio.Event()
    work = asyncio.create_task(listening(gossip, odd=odd, even=lambda payload: handled.set()).run())
    for name in ("odd", "even"):
        gossip.events.put(event(name))
    async with asyncio.timeout(5):
        await handled.wait()
    work.cancel()


async def test_a_lost_name_ends_the_agent(gossip: GossipNode) -> None:
    here, there = Endpoint(ip_address("10.0.0.1"), 1), Endpoint(ip_address("10.0.0.2"), 1)
    gossip.events.put(NameConflict("own", here, there, True))
    with pytest.raises(NameConflictLost):
        await listening(gossip).run()


async def test_invented_members_make_few_lines_of_log_and_bound_ones_one_for_each_change(
    gossip: GossipNode,
) -> None:
    ears = of_bound_members(gossip, EndpointFlapDetector())
    where = ip_address("10.232.0.2")
    with capture_logs() as logs:
        for number in range(3 * STRANGERS_A_MINUTE):
            ears._handle(MemberJoined(Member(f"x{number}", where, 1, {}, MemberStatus.ALIVE, 1, b"", 0.0)))
            ears._handle(MemberUpdated(Member("n2", where, 1, {}, MemberStatus.ALIVE, number, b"", 0.0)))
        ears._handle(MemberFailed(Member("n2", where, 1, {}, MemberStatus.FAILED, 1, b"", 0.0)))
    told = [(line["node"], line["status"]) for line in logs]
    assert [one for one in told if one[0] == "n2"] == [("n2", "alive"), ("n2", "failed")]
    assert len(told) == STRANGERS_A_MINUTE + 2


async def test_where_members_were_is_remembered_of_bound_ones_only(gossip: GossipNode) -> None:
    wandering, where = EndpointFlapDetector(), ip_address("10.232.0.2")
    ears = of_bound_members(gossip, wandering)
    for name in ("n2", "invented"):
        ears._handle(MemberJoined(Member(name, where, 1, {}, MemberStatus.ALIVE, 1, b"", 0.0)))
    assert list(wandering._told) == ["n2"]
