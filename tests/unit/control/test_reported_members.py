"""Members as the agent's socket reports them: one whose numbers cannot be told is left out, and only that one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.device import PlayedDevice

from wgmesh_agent.control.rtt_collector import NodeRTTs
from wgmesh_agent.control.server import AgentService
from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.runtime import borders
from wgmesh_agent.wireguard.model import Device
from wgmesh_api.agent_pb2 import AgentEmpty

NAMES = ("n1", "odd", "n3")
CONTEXT: Any = None


class Node:
    """What the service asks of a node; the round trip to the member `odd` is this."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.record = SimpleNamespace(node="me")
        self.gossip = SimpleNamespace(rtt=self._rtt)
        self.ledger = SimpleNamespace(by_name=lambda _: None)
        self.probing = SimpleNamespace(links=dict, path_mtus=dict)
        self.device = PlayedDevice(Device("wg0"))
        self.rtts = SimpleNamespace(collect_all=self._collect_all)

    def members(self) -> list[Member]:
        return [
            Member(name, ip_address("10.232.0.2"), 7946, {}, MemberStatus.ALIVE, 1, b"", 0.0)
            for name in NAMES
        ]

    def _rtt(self, name: str, seen_from: str | None = None) -> float:
        return self.seconds if name == "odd" else 0.001

    async def _collect_all(self) -> AsyncIterator[NodeRTTs]:
        yield NodeRTTs("n9", dict.fromkeys(NAMES, 1))


def service(seconds: float) -> AgentService:
    node: Any = Node(seconds)
    nothing: Any = None
    return AgentService(node, nothing, nothing, tls=True, leave=nothing)


@pytest.fixture(
    params=[(float("nan"), "ValueError"), (float("inf"), "OverflowError"), (1e30, "ValueError")], ids=str
)
def odd(request: pytest.FixtureRequest) -> tuple[float, str]:
    found: tuple[float, str] = request.param
    return found


def rejected(reason: str) -> int:
    return borders.rejected().get(("reported member", reason), 0)


async def test_a_member_that_cannot_be_reported_is_left_out_and_the_others_are_there(
    odd: tuple[float, str],
) -> None:
    seconds, reason = odd
    before = rejected(reason)
    with capture_logs():
        found = [info.nodeName async for info in service(seconds).Nodes(AgentEmpty(), CONTEXT)]
    assert found == ["n1", "n3"]
    assert rejected(reason) == before + 1


async def test_a_round_trip_that_cannot_be_told_is_left_out_and_the_others_are_there(
    odd: tuple[float, str],
) -> None:
    seconds, reason = odd
    before = rejected(reason)
    with capture_logs():
        (found,) = [info async for info in service(seconds).RTT(AgentEmpty(), CONTEXT)]
    assert [info.nodeName for info in found.rtts] == ["n1", "n3"]
    assert rejected(reason) == before + 1
