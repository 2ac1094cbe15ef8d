"""The agent's socket, with the requests of the command line: its reports on the node, and its changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
from tests.unit.agent.sessions import SessionHarness
from tests.unit.waiting import until

from wgmesh_agent.agent.session_end import SessionOutcome
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.agent_pb2 import (
    AgentEmpty,
    ExamineRequest,
    LeaveRequest,
    NodeTag,
    RotateKeysRequest,
    WaitInfo,
)
from wgmesh_api.agent_pb2_grpc import AgentStub

BETA = Claim(
    "beta",
    PublicKey(bytes([2]) * 32),
    (ip_address("127.0.0.2"),),
    (Endpoint(ip_address("192.0.2.2"), 54540),),
)


@pytest.fixture
async def harness(tmp_path: Path) -> SessionHarness:
    return SessionHarness(tmp_path)


@pytest.fixture
async def agent(harness: SessionHarness) -> AsyncIterator[AgentStub]:
    async with harness.asked(BETA) as stub:
        yield stub


async def tags(agent: AgentStub) -> dict[str, str]:
    return {tag.key: tag.value async for tag in agent.Tags(AgentEmpty())}


async def test_it_tells_which_mesh_this_is(agent: AgentStub) -> None:
    info = await agent.Info(AgentEmpty())
    assert (info.name, info.nodeName) == ("blue", "alpha")


async def test_it_lists_the_members_that_gossip_has(agent: AgentStub, harness: SessionHarness) -> None:
    await until(lambda: "alpha" in harness.session.node.gossip.members())
    found = [member async for member in agent.Nodes(AgentEmpty())]
    assert [(member.nodeName, member.status) for member in found] == [("alpha", "alive")]


async def test_a_tag_is_set_kept_and_taken_away(agent: AgentStub, harness: SessionHarness) -> None:
    assert (await agent.Tag(NodeTag(key="rack", value="7"))).ok
    assert await tags(agent) == {"rack": "7"}
    assert harness.session.node.record.tags == {"rack": "7"}
    await until(lambda: harness.session.node.gossip.members()["alpha"].tags.get("rack") == "7")
    assert (await agent.Untag(NodeTag(key="rack"))).ok
    assert await tags(agent) == {}


async def test_a_tag_that_cannot_be_is_refused_with_the_reason_and_nothing_changes(agent: AgentStub) -> None:
    reserved = await agent.Tag(NodeTag(key="_pk", value="mine"))
    too_large = await agent.Tag(NodeTag(key="rack", value="x" * 2000))
    unknown = await agent.Untag(NodeTag(key="rack"))
    assert not reserved.ok
    assert "_pk" in reserved.message
    assert not too_large.ok
    assert unknown.message == "this node has no tag 'rack'"
    assert await tags(agent) == {}


async def test_who_waits_for_a_change_is_told_of_one_and_of_its_absence(
    agent: AgentStub, harness: SessionHarness
) -> None:
    async def waited(seconds: int) -> tuple[bool, bool]:
        (found,) = [one async for one in agent.WaitForChangeInMesh(WaitInfo(timeoutSecs=seconds))]
        return found.changesOccured, found.wasTimeout

    waiting = asyncio.create_task(waited(60))
    while not waiting.done():
        harness.session.node.changes.notify()
        await asyncio.wait([waiting], timeout=0.01)
    assert await waiting == (True, False)


async def test_only_a_failed_member_can_be_taken_out(agent: AgentStub) -> None:
    alive = await agent.Leave(LeaveRequest(nodeName="nobody"))
    assert (alive.ok, alive.message) == (False, "this mesh has no member 'nobody'")


async def test_keys_that_there_are_none_of_are_not_rotated(agent: AgentStub) -> None:
    gossip = await agent.RotateKeys(RotateKeysRequest(keys=RotateKeysRequest.GOSSIP))
    wireguard = await agent.RotateKeys(RotateKeysRequest(keys=RotateKeysRequest.WIREGUARD))
    unknown = await agent.RotateKeys(RotateKeysRequest(keys=99))  # type: ignore[arg-type]
    assert not gossip.ok
    assert "not encrypted" in gossip.message
    assert not wireguard.ok
    assert "can vouch for a member's new key" in wireguard.message
    assert unknown.message == "unknown kind of key"


async def test_own_round_trips_come_first(agent: AgentStub) -> None:
    async for found in agent.RTT(AgentEmpty()):
        assert found.nodeName == "alpha"
        break


async def test_a_link_to_nobody_and_to_itself_is_not_examined(agent: AgentStub) -> None:
    nobody = await agent.Examine(ExamineRequest(nodeName="nobody"))
    itself = await agent.Examine(ExamineRequest(nodeName="alpha"))
    assert nobody.message == "this mesh has no member 'nobody'"
    assert itself.message == "alpha is this node itself"


async def test_a_node_that_is_told_to_leave_answers_when_it_has(harness: SessionHarness) -> None:
    async with harness.running() as task, grpc.aio.insecure_channel(f"unix:{harness.socket}") as channel:
        stub = AgentStub(channel)  # type: ignore[no-untyped-call]
        assert (await stub.Leave(LeaveRequest())).ok
        assert not harness.store.path.exists()
        assert await task is SessionOutcome.LEFT
