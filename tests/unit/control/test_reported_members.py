"""Members as the agent's socket reports them: one with invalid numbers is omitted, and only that one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.device import PlayedDevice
from tests.unit.node import composed

from wgmesh_agent.control.member_report import MemberReport
from wgmesh_agent.control.rtt_collector import NodeRTTs, RTTCollector
from wgmesh_agent.control.server import AgentService
from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.runtime import borders
from wgmesh_agent.wireguard.model import Device
from wgmesh_api.agent_pb2 import AgentEmpty

NAMES = ("n1", "odd", "n3")
CONTEXT: Any = None


class OddGossip(GossipNode):
    """Three members; the round trip to `odd` takes so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(SerfConfig("n9", ip_address("127.0.0.1"), 0), keyring=None)
        self._seconds = seconds

    def members(self) -> dict[str, Member]:
        address = ip_address("10.232.0.2")
        return {name: Member(name, address, 7946, {}, MemberStatus.ALIVE, 1, b"", 0.0) for name in NAMES}

    def rtt(self, node: str, seen_from: str | None = None) -> float | None:
        return self._seconds if node == "odd" else 0.001


class OneAnswer(RTTCollector):
    """The view of a single member."""

    async def collect_all(self) -> AsyncIterator[NodeRTTs]:
        yield NodeRTTs("n9", dict.fromkeys(NAMES, 1))


async def no_leave() -> None:
    raise AssertionError


def service(seconds: float, folder: Path) -> AgentService:
    node, gossip = composed(folder), OddGossip(seconds)
    links = replace(
        node.links,
        gossip=gossip,
        members=MemberView(gossip, node.ledger),
        device=PlayedDevice(Device("wgblue")),
    )
    return AgentService(
        mesh=node.mesh_report,
        members=MemberReport(links, node.routes, node.indirect),
        local=node.local,
        changes=node.changes,
        gossip=gossip,
        rtts=OneAnswer(gossip, "n9"),
        rotations=node.rotations,
        facts=node.facts,
        leave=no_leave,
    )


@pytest.fixture(
    params=[(float("nan"), "ValueError"), (float("inf"), "OverflowError"), (1e30, "ValueError")], ids=str
)
def odd(request: pytest.FixtureRequest) -> tuple[float, str]:
    found: tuple[float, str] = request.param
    return found


def rejected(reason: str) -> int:
    return borders.rejected().get(("reported member", reason), 0)


async def test_a_member_that_cannot_be_reported_is_left_out_and_the_others_are_there(
    odd: tuple[float, str], tmp_path: Path
) -> None:
    seconds, reason = odd
    before = rejected(reason)
    with capture_logs():
        found = [info.nodeName async for info in service(seconds, tmp_path).Nodes(AgentEmpty(), CONTEXT)]
    assert found == ["n1", "n3"]
    assert rejected(reason) == before + 1


async def test_a_round_trip_that_cannot_be_told_is_left_out_and_the_others_are_there(
    odd: tuple[float, str], tmp_path: Path
) -> None:
    seconds, reason = odd
    before = rejected(reason)
    with capture_logs():
        (found,) = [info async for info in service(seconds, tmp_path).RTT(AgentEmpty(), CONTEXT)]
    assert [info.nodeName for info in found.rtts] == ["n1", "n3"]
    assert rejected(reason) == before + 1
