"""The asyncio shell on real sockets of the loopback interface."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from wgmesh_agent.gossip.aio.event_stream import EventStream
from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.memberlist.config import LAN, SerfConfig
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.serf.events import (
    KeyringChanged,
    MemberJoined,
    MemberLeft,
    QueryReceived,
    UserEventReceived,
)
from wgmesh_agent.gossip.serf.key_manager import KeyOperation
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.messages import Alive, Ping, encode
from wgmesh_agent.gossip.wire.push_pull import NODES_AT_ONCE
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS

KEY = bytes(range(32))
QUICK = replace(LAN, probe_interval_seconds=0.1, probe_timeout_seconds=0.05, tcp_timeout_seconds=0.3)
Start = Callable[..., Awaitable[GossipNode]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    nodes: list[GossipNode] = []

    async def started(
        name: str, *, host: str = "127.0.0.1", key: bytes | None = KEY, **settings: Any
    ) -> GossipNode:
        config = SerfConfig(name, ip_address(host), 0, **settings)
        node = GossipNode(config, keyring=None if key is None else Keyring(key))
        await node.start()
        nodes.append(node)
        return node

    yield started
    await asyncio.gather(*(node.close() for node in nodes))


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def whole(*nodes: GossipNode) -> bool:
    names = {node.config.node_name for node in nodes}
    return all(
        {name for name, member in node.members().items() if member.status is MemberStatus.ALIVE} == names
        for node in nodes
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_three_nodes_join_talk_and_part(start: Start, host: str) -> None:
    a, b, c = [await start(name, host=host, tags={"is": name}) for name in "abc"]
    for node in (b, c):
        assert await node.join([(a.config.address, a.port)]) == 1
    await eventually(lambda: whole(a, b, c))
    assert {name: member.tags for name, member in c.members().items()} == {
        name: {"is": name} for name in "abc"
    }
    b.user_event("deploy", b"v1")
    await eventually(lambda: any(isinstance(e, UserEventReceived) for e in c.events._pending))
    c.set_tags({"is": "new"})
    await eventually(lambda: a.members()["c"].tags == {"is": "new"})
    await c.leave()
    await c.close()
    assert a.members()["c"].status is MemberStatus.LEFT
    assert any(isinstance(event, MemberLeft) for event in b.events._pending)


async def test_udp_and_tcp_share_one_free_port(start: Start) -> None:
    node = await start("a")
    assert node.port > 0
    with socket.create_connection(("127.0.0.1", node.port)):
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, pytest.raises(OSError):
        other.bind(("127.0.0.1", node.port))


async def test_a_taken_port_is_an_error_and_leaves_nothing_bound(start: Start) -> None:
    taken = await start("a")
    node = GossipNode(SerfConfig("b", ip_address("127.0.0.1"), taken.port), keyring=None)
    with pytest.raises(OSError):
        await node.start()
    await node.close()


async def test_a_join_nobody_answers_names_each_address_and_why(start: Start) -> None:
    node = await start("a")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(GossipError, match=rf"127\.0\.0\.1:{port}: .*refused"):
        await node.join([(ip_address("127.0.0.1"), port)])
    with pytest.raises(GossipError, match="no address given"):
        await node.join([])


async def test_a_join_with_the_wrong_key_fails_and_one_good_address_is_enough(start: Start) -> None:
    a, b, stranger = await start("a"), await start("b"), await start("x", key=bytes(32))
    with pytest.raises(GossipError, match="no member could be reached"):
        await stranger.join([(a.config.address, a.port)])
    assert stranger.members().keys() == {"x"}
    assert await b.join([(a.config.address, stranger.port), (a.config.address, a.port)]) == 1
    await eventually(lambda: whole(a, b))


async def test_queries_are_answered_by_functions_and_coroutines_and_a_failing_one_harms_nobody(
    start: Start,
) -> None:
    a, b = await start("a"), await start("b")
    await b.join([(a.config.address, a.port)])

    async def slowly(query: QueryReceived) -> bytes:
        await asyncio.sleep(0)
        return b"slowly " + query.payload

    def fail(query: QueryReceived) -> bytes:
        raise RuntimeError(query.name)

    a.on_query("at-once", lambda query: b"at once " + query.payload)
    a.on_query("slowly", slowly)
    a.on_query("fail", fail)
    a.on_query("silent", lambda _: None)
    a.on_query("huge", lambda _: bytes(5000))

    async def too_late(_: QueryReceived) -> bytes:
        await asyncio.sleep(1.0)
        return b"too late"

    a.on_query("late", too_late)
    for name in ("at-once", "slowly"):
        result = await b.query(name, b"x", timeout=5)
        assert result.responses == {"a": name.replace("-", " ").encode() + b" x"}
        assert result.expected == {"a"}
    for name in ("fail", "silent", "huge", "late", "unknown"):
        result = await b.query(name, nodes=["a"], ack=True, timeout=0.5)
        assert not result.responses
        assert result.acks == {"a"}
    assert a.counters.refused["query: our answer could not be sent"] == 1
    await eventually(lambda: a.counters.refused.get("query: our answer came too late") == 1)
    assert (await a.query("at-once", b"me", nodes=["a"])).responses == {"a": b"at once me"}


async def test_keys_are_rotated_and_each_change_is_told(start: Start) -> None:
    a, b = await start("a"), await start("b")
    await b.join([(a.config.address, a.port)])
    await eventually(lambda: whole(a, b))
    for change in (
        a.change_keys(KeyOperation.INSTALL, bytes(16)),
        a.change_keys(KeyOperation.USE, bytes(16)),
        a.change_keys(KeyOperation.REMOVE, KEY),
    ):
        assert (await change).ok
    assert (await b.change_keys(KeyOperation.LIST)).keys == {"AAAAAAAAAAAAAAAAAAAAAA==": 2}
    for node in (a, b):
        assert sum(isinstance(event, KeyringChanged) for event in node.events._pending) == 3
    late = await start("late", key=bytes(16))
    assert await late.join([(b.config.address, b.port)]) == 1


async def test_a_node_that_vanishes_is_failed(start: Start) -> None:
    a, b, c = [await start(name, profile=QUICK) for name in "abc"]
    for node in (b, c):
        await node.join([(a.config.address, a.port)])
    await eventually(lambda: whole(a, b, c))
    await c.close()
    await eventually(lambda: all(n.members()["c"].status is MemberStatus.FAILED for n in (a, b)))


async def test_a_connection_that_says_nothing_is_closed_at_its_deadline(start: Start) -> None:
    node = await start("a", profile=QUICK)
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(b"\x0a\x00\x00")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert node.counters.refused["stream: ended early"] == 1


async def connect(node: GossipNode, source: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", node.port, local_addr=(f"127.0.0.{source}", 0))


async def hung_up(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(5):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


async def test_connections_past_32_of_one_address_are_closed_and_those_of_others_are_not(
    start: Start,
) -> None:
    node = await start("a")
    idle = [await connect(node, 2) for _ in range(32)]
    await eventually(lambda: node.counters.streams_in == 32)
    reader, writer = await connect(node, 2)
    assert await hung_up(reader)
    other = await connect(node, 3)
    await eventually(lambda: node.counters.streams_in == 33)
    for _, open_writer in [*idle, (reader, writer), other]:
        open_writer.transport.abort()


async def test_connections_past_128_are_closed_and_the_others_live(start: Start) -> None:
    node = await start("a")
    idle = [await connect(node, source) for source in range(2, 6) for _ in range(32)]
    await eventually(lambda: node.counters.streams_in == 128)
    reader, writer = await connect(node, 7)
    assert await hung_up(reader)
    for _, open_writer in [*idle, (reader, writer)]:
        open_writer.transport.abort()
    b = await start("b")
    await eventually(lambda: node.counters.refused["stream: ended early"] == 128)
    assert await b.join([(node.config.address, node.port)]) == 1


async def test_garbage_is_counted_by_reason(start: Start) -> None:
    node = await start("a")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for data in (b"", b"\x01" + bytes(40), b"\xf4\x05label", bytes(60000)):
            sender.sendto(data, ("127.0.0.1", node.port))
    await eventually(lambda: node.counters.datagrams_in == 4)
    assert node.counters.refused.total() == 4


async def test_datagrams_that_cannot_be_sent_are_counted_and_nothing_more(start: Start) -> None:
    node = await start("a", key=None)
    places = {"b": ip_address("fd00::1").packed, "c": ip_address("255.255.255.255").packed}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for name, addr in places.items():
            for message in (Alive(1, name, addr, 7946, b"", OWN_VERSIONS), Ping(1, "a", addr, 7946, name)):
                sender.sendto(encode(message), ("127.0.0.1", node.port))
    await eventually(lambda: node.counters.send_errors >= 2)
    assert node.members()["a"].status is MemberStatus.ALIVE


async def test_closing_in_the_midst_of_things_ends_them(start: Start) -> None:
    node = await start("a")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        join = asyncio.ensure_future(node.join([(ip_address("127.0.0.1"), silent.getsockname()[1])]))
        query = asyncio.ensure_future(node.query("q", nodes=["a"], timeout=60))
        await eventually(lambda: node.counters.streams_out == 1)
        await node.close()
        outcomes = await asyncio.gather(join, query, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2


def joined(name: str) -> MemberJoined:
    return MemberJoined(name)  # type: ignore[arg-type]


async def test_unread_user_events_are_bounded_and_do_not_push_out_membership() -> None:
    feed = EventStream(Counters(), user_events=3, others=2)
    for index in range(5):
        feed.put(UserEventReceived(index, "e", b"", False))
    for name in "abc":
        feed.put(joined(name))
    kept = [feed.get_nowait() for _ in range(len(feed))]
    assert [event.ltime for event in kept if isinstance(event, UserEventReceived)] == [0, 1, 2]
    assert [event for event in kept if isinstance(event, MemberJoined)] == [joined("b"), joined("c")]
    assert feed._counters.refused["notification: not read in time"] == 3
    waiting = asyncio.ensure_future(feed.get())
    await asyncio.sleep(0)
    feed.put(joined("d"))
    assert await waiting == joined("d")
    with pytest.raises(IndexError):
        feed.get_nowait()


async def test_a_state_of_thousands_is_exchanged_whole_either_way(start: Start) -> None:
    count = 5 * NODES_AT_ONCE
    crowd, first, second = await start("crowd"), await start("first"), await start("second")
    for number in range(count):
        crowd._core._memberlist.membership.alive(
            Alive(1, f"m{number}", (ip_address("127.1.0.1") + number).packed, 7946, b"", OWN_VERSIONS), 0.0
        )
    assert await first.join([(crowd.config.address, crowd.port)]) == 1
    assert len(first.members()) == count + 2
    assert await first.join([(second.config.address, second.port)]) == 1
    await eventually(lambda: len(second.members()) == count + 3)


async def test_work_that_is_cancelled_before_its_first_step_is_closed() -> None:
    """Otherwise Python warns, at some garbage collection, of a coroutine that was never awaited."""
    node = GossipNode(SerfConfig("n1", ip_address("127.0.0.1")), keyring=None)

    async def work() -> None:
        raise AssertionError("begun")

    begun = work()
    node._tasks.start(begun, "somebody")
    await node._tasks.stop()
    assert inspect.getcoroutinestate(begun) == inspect.CORO_CLOSED
