"""Our node among real `serf agent` processes, encrypted, on loopback: what each side makes of the other."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.serf import our_process
from tests.serf.agents import KEY_TEXT, PORT, Agent, Ground, until
from tests.serf.conftest import OurNode

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.serf.events import NameConflict, QueryReceived, UserEventReceived
from wgmesh_agent.gossip.serf.key_manager import KeyOperation, KeyResult
from wgmesh_agent.gossip.wire.keyring import Keyring, decode_key, encode_key
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.rotation.gossip_key import GossipKeyRotation, RotationFailed

pytestmark = pytest.mark.serf

NEW_KEY = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
HANDLER = 'printf "%s %s%s %s\\n" "$SERF_EVENT" "$SERF_USER_EVENT" "$SERF_QUERY_NAME" "$(cat)" >> "$EVENTS"'
ANSWERER = '[ "$SERF_EVENT" = query ] && printf "%s says %s" "$SERF_SELF_NAME" "$(cat)"'


async def eventually(condition: Callable[[], bool], seconds: float, what: str) -> float:
    return await asyncio.to_thread(until, condition, seconds, what)


async def in_thread(agent: Agent, *command: str) -> str:
    return await asyncio.to_thread(agent.run, *command)


async def cluster(serf: Ground, *names: str, **options: str) -> list[Agent]:
    return await asyncio.to_thread(lambda: serf.cluster(*names, **options))


def status(node: GossipNode, name: str) -> MemberStatus | None:
    member = node.member(name)
    return None if member is None else member.status


def complaints(*agents: Agent) -> list[str]:
    return [
        line
        for agent in agents
        for line in agent.log.read_text().splitlines()
        if "[ERR]" in line or "onflicting" in line or "[WARN] memberlist" in line
    ]


async def test_agents_list_our_node_alive_with_its_tags_and_stay_content(
    serf: Ground, our_node: OurNode
) -> None:
    agents = await cluster(serf, "a0", "a1", "a2")
    tags = {"_pk": "k" * 44, "_addr": "192.0.2.7", "svc:web": "port=80"}
    node = await our_node(join=agents[0], tags=tags)
    await eventually(lambda: all(agent.status("ours") == "alive" for agent in agents), 5, "ours is alive")
    for agent in agents:
        ours = agent.members()["ours"]
        assert ours["tags"] == tags
        assert ours["addr"] == f"{node.config.address}:{PORT}"
    assert {name: member.status for name, member in node.members().items()} == dict.fromkeys(
        ("a0", "a1", "a2", "ours"), MemberStatus.ALIVE
    )
    await asyncio.to_thread(
        until, lambda: all(node.rtt(agent.name) is not None for agent in agents), 20, "all were probed"
    )
    assert complaints(*agents) == []
    assert not node.counters.refused


async def test_an_agent_joins_through_our_node(serf: Ground, our_node: OurNode) -> None:
    node = await our_node(tags={"a": "1"})
    agent = await asyncio.to_thread(lambda: serf.agent("a0", tags={"zone": "north"}))
    await in_thread(agent, "join", f"{node.config.address}:{PORT}")
    await eventually(lambda: agent.status("ours") == "alive", 5, "the agent lists ours")
    await eventually(lambda: status(node, "a0") is MemberStatus.ALIVE, 5, "we list the agent")
    assert node.members()["a0"].tags == {"zone": "north"}
    assert agent.members()["ours"]["tags"] == {"a": "1"}


async def test_tags_changed_on_either_side_arrive_on_the_other(serf: Ground, our_node: OurNode) -> None:
    agents = await cluster(serf, "a0", "a1")
    node = await our_node(join=agents[0])
    node.set_tags({"svc:db": "port=5432"})
    await eventually(
        lambda: all(
            agent.members().get("ours", {}).get("tags") == {"svc:db": "port=5432"} for agent in agents
        ),
        5,
        "our new tags",
    )
    await in_thread(agents[1], "tags", "-set", "rack=7")
    await eventually(lambda: node.members()["a1"].tags == {"rack": "7"}, 5, "the agent's new tags")


async def test_agents_see_our_leave_as_left(serf: Ground, our_node: OurNode) -> None:
    agents = await cluster(serf, "a0", "a1", "a2")
    node = await our_node(join=agents[0])
    await eventually(lambda: all(agent.status("ours") == "alive" for agent in agents), 5, "ours is alive")
    await node.leave()
    assert [agent.status("ours") for agent in agents] == ["left"] * 3
    await node.close()
    assert complaints(*agents) == []


async def next_user_event(node: GossipNode) -> UserEventReceived:
    async with asyncio.timeout(5):
        while True:
            event = await node.events.get()
            if isinstance(event, UserEventReceived):
                return event


async def test_user_events_pass_both_ways(serf: Ground, our_node: OurNode) -> None:
    agents = await cluster(serf, "a0", "a1", handler=HANDLER)
    node = await our_node(join=agents[0])
    await eventually(lambda: all(agent.status("ours") == "alive" for agent in agents), 5, "ours is alive")
    await in_thread(agents[1], "event", "-coalesce=false", "deploy", "v7")
    event = await next_user_event(node)
    assert (event.name, event.payload, event.coalesce) == ("deploy", b"v7", False)
    node.user_event("_j", b"announce")
    await eventually(
        lambda: all("user _j announce" in agent.events.read_text() for agent in agents),
        5,
        "our event is handled",
    )


async def test_who_joins_later_is_told_of_earlier_events_if_it_asks(serf: Ground, our_node: OurNode) -> None:
    agents = await cluster(serf, "a0", "a1")
    node = await our_node(join=agents[0])
    await in_thread(agents[0], "event", "first", "1")
    await next_user_event(node)
    node.user_event("second", b"2")
    await eventually(
        lambda: all("user-event: second" in agent.log.read_text() for agent in agents), 5, "all heard both"
    )
    late = await asyncio.to_thread(lambda: serf.agent("late", handler=HANDLER))
    await in_thread(late, "join", "-replay", f"{node.config.address}:{PORT}")
    await eventually(
        lambda: {"user first 1", "user second 2"} <= set(late.events.read_text().splitlines()),
        5,
        "the agent is told by us",
    )
    curious = await our_node("curious")
    await curious.join([(agents[1].address, PORT)], ignore_old_events=False)
    assert {(await next_user_event(curious)).name for _ in range(2)} == {"first", "second"}


async def test_an_agent_of_the_oldest_serf_protocol_is_content_too(serf: Ground, our_node: OurNode) -> None:
    agents = await cluster(serf, "a0", "a1")
    old = await asyncio.to_thread(lambda: serf.agent("old", "-protocol=2"))
    await in_thread(old, "join", f"{agents[0].address}:{PORT}")
    node = await our_node(join=old)
    await eventually(lambda: old.status("ours") == "alive", 5, "the old one lists us")
    await eventually(lambda: len(node.members()) == 4, 5, "we list all")
    await asyncio.to_thread(old.kill)
    await eventually(lambda: status(node, "old") is MemberStatus.FAILED, 40, "it fails")


async def test_agents_query_us_and_we_query_agents(serf: Ground, our_node: OurNode) -> None:
    agents = await cluster(serf, "a0", "a1", "a2", handler=ANSWERER)
    node = await our_node(join=agents[0], tags={"role": "db-7"})
    await eventually(lambda: all(agent.status("ours") == "alive" for agent in agents), 5, "ours is alive")
    asked: list[QueryReceived] = []

    def answer(query: QueryReceived) -> bytes:
        asked.append(query)
        return b"we say " + query.payload

    node.on_query("hello", answer)
    output = await in_thread(agents[1], "query", "-timeout=2s", "-relay-factor=2", "hello", "there")
    assert "Response from 'ours': we say there" in output
    assert "Ack from 'ours'" in output
    assert "Total Acks: 4" in output
    assert asked[0].source_node == "a1"
    for filters, answered in (
        (("-tag=role=^db-[0-9]$",), True),
        (("-tag=role=^web",), False),
        (("-node=ours",), True),
        (("-node=a0",), False),
    ):
        output = await in_thread(agents[1], "query", "-timeout=1s", *filters, "hello", "x")
        assert ("Response from 'ours'" in output) is answered, filters
    result = await node.query("question", b"why", ack=True, relay_factor=2, timeout=3)
    assert result.responses == {name: f"{name} says why".encode() for name in ("a0", "a1", "a2")}
    assert result.acks >= {"a0", "a1", "a2"}
    for direct in (False, True):
        result = await node.query("question", b"you", nodes=["a2"], timeout=3, direct=direct)
        assert result.responses == {"a2": b"a2 says you"}


async def test_an_agent_rotates_the_keys_with_us_on_the_ring(serf: Ground, our_node: OurNode) -> None:
    agents = await cluster(serf, "a0", "a1")
    node = await our_node(join=agents[0])
    await eventually(lambda: all(agent.status("ours") == "alive" for agent in agents), 5, "ours is alive")
    for step in (f"-install={NEW_KEY}", f"-use={NEW_KEY}", f"-remove={KEY_TEXT}"):
        assert "Successfully" in await in_thread(agents[1], "keys", step)
    listing = await in_thread(agents[0], "keys", "-list")
    assert f"{NEW_KEY}  [3/3]" in listing
    assert KEY_TEXT not in listing
    newcomer = await our_node("newcomer", join=agents[1], key=decode_key(NEW_KEY))
    await eventually(lambda: status(node, "newcomer") is MemberStatus.ALIVE, 5, "a joiner with the new key")
    assert len(newcomer.members()) == 4


async def test_we_rotate_the_keys_with_agents_on_the_ring(serf: Ground, our_node: OurNode) -> None:
    agents = await cluster(serf, "a0", "a1")
    node = await our_node(join=agents[0])
    await eventually(lambda: all(agent.status("ours") == "alive" for agent in agents), 5, "ours is alive")
    key = decode_key(NEW_KEY)
    for change in (
        node.change_keys(KeyOperation.INSTALL, key),
        node.change_keys(KeyOperation.USE, key),
        node.change_keys(KeyOperation.REMOVE, decode_key(KEY_TEXT)),
    ):
        result = await change
        assert result.ok, result
        assert result.answered == 3
    listed = await node.change_keys(KeyOperation.LIST)
    assert listed.keys == {encode_key(key): 3}
    refused = await node.change_keys(KeyOperation.REMOVE, key)
    assert set(refused.errors) == {"a0", "a1", "ours"}
    assert f"{NEW_KEY}  [3/3]" in await in_thread(agents[0], "keys", "-list")


async def test_agents_take_our_killed_process_for_failed_and_its_return_for_alive(
    serf: Ground, our_node: OurNode
) -> None:
    agents = await cluster(serf, "a0", "a1", "a2")
    address = next(serf.addresses)
    script = Path(our_process.__file__)
    process = await asyncio.to_thread(
        lambda: subprocess.Popen(
            [sys.executable, str(script), "ours", str(address), str(agents[0].address)],
            stdout=subprocess.PIPE,
        )
    )
    try:
        await eventually(
            lambda: all(agent.status("ours") == "alive" for agent in agents), 15, "ours is alive"
        )
    finally:
        process.kill()
        await asyncio.to_thread(process.communicate)
    await eventually(lambda: all(agent.status("ours") == "failed" for agent in agents), 40, "ours is failed")
    await our_node(join=agents[2], address=address, tags={"life": "second"})
    await eventually(
        lambda: all(
            agent.status("ours") == "alive" and agent.members()["ours"]["tags"] == {"life": "second"}
            for agent in agents
        ),
        10,
        "ours is back",
    )


async def test_we_take_a_killed_agent_for_failed_and_a_leaving_one_for_left(
    serf: Ground, our_node: OurNode
) -> None:
    agents = await cluster(serf, "a0", "a1", "a2", "a3")
    node = await our_node(join=agents[0])
    await eventually(lambda: len(node.members()) == 5, 5, "we see all")
    await in_thread(agents[3], "leave")
    await eventually(lambda: status(node, "a3") is MemberStatus.LEFT, 5, "a3 left")
    await asyncio.to_thread(agents[2].kill)
    await eventually(lambda: status(node, "a2") is MemberStatus.FAILED, 40, "a2 failed")
    await eventually(lambda: agents[0].status("a2") == "failed", 40, "the agents agree")
    node.force_leave("a2")
    await eventually(
        lambda: all(agent.status("a2") == "left" for agent in agents[:2]), 5, "a2 is forced to have left"
    )
    assert status(node, "a2") is MemberStatus.LEFT
    assert status(node, "a1") is MemberStatus.ALIVE


async def test_an_agent_forcing_us_out_finds_us_alive_again(serf: Ground, our_node: OurNode) -> None:
    agents = await cluster(serf, "a0", "a1")
    node = await our_node(join=agents[0])
    await eventually(lambda: all(agent.status("ours") == "alive" for agent in agents), 5, "ours is alive")
    await in_thread(agents[0], "force-leave", "ours")
    await eventually(lambda: all(agent.status("ours") == "alive" for agent in agents), 5, "we objected")
    assert status(node, "ours") is MemberStatus.ALIVE


async def test_reachability_and_round_trips_work_with_us_in(serf: Ground, our_node: OurNode) -> None:
    agents = await cluster(serf, "a0", "a1")
    node = await our_node(join=agents[0])
    await eventually(lambda: agents[0].status("ours") == "alive", 5, "ours is alive")
    assert "Successfully contacted all live nodes" in await in_thread(agents[0], "reachability")
    await eventually(
        lambda: "Estimated" in agents[0].run("rtt", "ours", "a0", check=False), 20, "a0 estimates our rtt"
    )
    await eventually(lambda: node.rtt("a0") is not None and node.rtt("a0", "a1") is not None, 20, "we do too")
    rtt = node.rtt("a0")
    assert rtt is not None
    assert 0 < rtt < 0.1


async def resolved_conflict(node: GossipNode) -> NameConflict:
    async with asyncio.timeout(30):
        while True:
            event = await node.events.get()
            if isinstance(event, NameConflict) and event.lost is not None:
                return event


async def test_an_agent_with_our_name_gives_way_and_we_are_told(serf: Ground, our_node: OurNode) -> None:
    agents = await cluster(serf, "a0", "a1", "a2")
    node = await our_node(join=agents[0])
    await eventually(lambda: all(agent.status("ours") == "alive" for agent in agents), 5, "ours is alive")
    impostor = await asyncio.to_thread(serf.agent, "ours")
    await asyncio.to_thread(lambda: impostor.run("join", f"{node.config.address}:{PORT}", check=False))
    conflict = await resolved_conflict(node)
    assert conflict.theirs.address == impostor.address
    assert conflict.lost is False
    await eventually(lambda: impostor.process.poll() is not None, 30, "the impostor ends itself")
    assert agents[0].members()["ours"]["addr"] == f"{node.config.address}:{PORT}"


async def test_with_an_agents_name_we_are_told_that_we_lost_and_change_nothing(
    serf: Ground, our_node: OurNode
) -> None:
    agents = await cluster(serf, "a0", "a1", "a2")
    impostor = await our_node("a2", join=agents[0])
    conflict = await resolved_conflict(impostor)
    assert conflict.theirs.address == agents[2].address
    assert conflict.lost is True
    await impostor.close()
    assert agents[0].members()["a2"]["addr"] == f"{agents[2].address}:{PORT}"


async def test_a_cluster_without_encryption_takes_us_too(serf: Ground, our_node: OurNode) -> None:
    agents = await asyncio.to_thread(lambda: serf.cluster("a0", "a1", key=None))
    node = await our_node(join=agents[0], key=None)
    await eventually(lambda: all(agent.status("ours") == "alive" for agent in agents), 5, "ours is alive")
    await node.leave()
    assert [agent.status("ours") for agent in agents] == ["left"] * 2
    assert complaints(*agents) == []


async def test_a_wrong_key_is_refused_with_the_reason(serf: Ground, our_node: OurNode) -> None:
    agent = await asyncio.to_thread(serf.agent, "a0")
    with pytest.raises(Exception, match="no member could be reached"):
        await our_node(join=agent, key=decode_key(NEW_KEY))
    assert set(agent.members()) == {"a0"}


async def test_a_rotation_takes_agents_along_and_waits_for_no_dead_one(
    serf: Ground, our_node: OurNode
) -> None:
    agents = await cluster(serf, "a0", "a1", "a2")
    keyring = Keyring(decode_key(KEY_TEXT))
    node = await our_node(join=agents[0], keyring=keyring)
    await eventually(lambda: all(agent.status("ours") == "alive" for agent in agents), 5, "ours is alive")
    rotation = GossipKeyRotation(node, keyring, list)
    assert (await rotation.rotate(decode_key(NEW_KEY))).members == 4
    listing = await in_thread(agents[0], "keys", "-list")
    assert f"{NEW_KEY}  [4/4]" in listing
    assert KEY_TEXT not in listing
    await asyncio.to_thread(agents[2].kill)
    again = await rotation.rotate(bytes(32))
    assert (again.members, again.old_keys_kept) == (3, "")
    assert f"{encode_key(bytes(32))}  [3/3]" in await in_thread(agents[1], "keys", "-list")


async def test_a_key_that_an_agent_installed_meanwhile_ends_our_rotation_and_is_left_alone(
    serf: Ground, our_node: OurNode
) -> None:
    agents = await cluster(serf, "a0", "a1")
    keyring = Keyring(decode_key(KEY_TEXT))
    node = await our_node(join=agents[0], keyring=keyring)
    await eventually(lambda: all(agent.status("ours") == "alive" for agent in agents), 5, "ours is alive")

    class Meddled:
        async def change_keys(
            self, operation: KeyOperation, key: bytes = b"", nodes: Sequence[str] | None = None
        ) -> KeyResult:
            if operation is KeyOperation.INSTALL:
                await in_thread(agents[1], "keys", f"-install={NEW_KEY}")
            return await node.change_keys(operation, key, nodes)

    with pytest.raises(RotationFailed, match="at the same time; the old key stays in use"):
        await GossipKeyRotation(Meddled(), keyring, list).rotate(bytes(32))
    listing = await in_thread(agents[0], "keys", "-list")
    assert f"{NEW_KEY}  [3/3]" in listing
    assert f"{KEY_TEXT}  [3/3]" in listing
    assert encode_key(bytes(32)) not in listing
