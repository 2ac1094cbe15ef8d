"""One datagram, one message, one timer, one stream: what is raised while it is handled costs it alone."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gossip.aio.test_node import Start, eventually, start
from tests.unit.gossip.memberlist_harness import PORT, Loner, alive, endpoint
from tests.unit.gossip.push_pull_fixtures import push_pull, state
from tests.unit.gossip.serf_harness import user

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.aio.streams import StreamTransport
from wgmesh_agent.gossip.memberlist.config import LAN, LOCAL, SerfConfig
from wgmesh_agent.gossip.memberlist.streams import WriteStream
from wgmesh_agent.gossip.serf.events import JoinFinished
from wgmesh_agent.gossip.serf.serf import Serf
from wgmesh_agent.gossip.wire.endpoint import Endpoint
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.messages import Alive, PushPull, StreamError, UserMessage, encode
from wgmesh_agent.gossip.wire.packet import PacketCodec
from wgmesh_agent.gossip.wire.serf_messages import LeaveIntent, MemberStatus, SerfPushPull
from wgmesh_agent.gossip.wire.stream import StreamCodec, stream_message
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS
from wgmesh_agent.runtime import borders

__all__ = ["start"]
PLAIN = StreamCodec(None)


class Odd(Exception):
    """An exception that no code foresees."""


class OddSerf(Serf):
    """Cannot take a serf message, nor give or merge a state."""

    def user_message(self, payload: bytes, source: Endpoint | None, now: float) -> None:
        raise Odd

    def local_state(self) -> bytes:
        raise Odd

    def merge_remote_state(
        self, state: bytes, *, join: bool, now: float, source: Endpoint | None = None
    ) -> None:
        raise Odd


@pytest.fixture
def odd() -> Serf:
    rng = random.Random(1)
    core = OddSerf(
        SerfConfig("n1", IPv4Address("10.0.0.1"), PORT), keyring=None, rng=rng, nonces=rng.randbytes
    )
    core.start(0.0)
    return core


def rejected(border: str) -> int:
    return sum(count for (name, _), count in borders.rejected().items() if name == border)


class TestTheCore:
    def test_a_message_that_cannot_be_handled_costs_itself(self, odd: Serf) -> None:
        before = rejected("gossip message")
        odd.receive_datagram(
            PacketCodec(None).encode([encode(UserMessage(b"odd")), encode(alive("n2"))]), endpoint(2), 0.0
        )
        assert set(odd.members()) == {"n1", "n2"}
        assert rejected("gossip message") == before + 1

    def test_a_timer_that_fails_leaves_the_others(self) -> None:
        core = Loner()
        ran: list[float] = []

        def fails(now: float) -> None:
            raise Odd

        core.core._timers.at(1.0, fails)
        core.core._timers.at(1.0, ran.append)
        core.pass_time(2.0)
        assert ran == [1.0]

    def test_a_stream_that_cannot_be_answered_is_given_back(self, odd: Serf) -> None:
        for _ in range(300):
            stream = odd.stream_accepted()
            assert stream is not None
            odd.stream_received(stream, PLAIN.encode(stream_message(push_pull(state("n2"))), False), 0.0)
            (action,) = odd.stream_actions()
            assert isinstance(action, WriteStream)
            assert isinstance(PLAIN.decoder(True).feed(action.payload), StreamError)
        assert not odd._memberlist.streams._buffered._taken
        assert not odd._memberlist.streams._waiting._taken

    def test_a_join_whose_state_cannot_be_built_says_so(self, odd: Serf) -> None:
        odd.join(endpoint(2), 0.0)
        assert [event.error for event in odd.events() if isinstance(event, JoinFinished)] == [
            "this node's state cannot be sent"
        ]

    def test_lamport_time_zero_is_refused_and_states_are_still_exchanged(self) -> None:
        core = Loner()
        core.hear(user(LeaveIntent(0, "n2")))
        core.hear(alive("n2"))
        assert core.core.members()["n2"].status is MemberStatus.ALIVE
        stream = core.do(lambda serf: serf.stream_accepted())
        core.feed(stream, PLAIN.encode(stream_message(push_pull()), False))
        assert isinstance(PLAIN.decoder(True).feed(core.actions.pop().payload), PushPull)

    def test_a_state_with_time_zero_is_merged(self) -> None:
        core = Loner()
        stream = core.do(lambda serf: serf.stream_accepted())
        theirs = push_pull(state("n2"), serf=SerfPushPull(0, {"n2": 0, "n3": 0}, ("n3",), 0, (), 0))
        core.feed(stream, PLAIN.encode(stream_message(theirs), False))
        assert core.core.members()["n2"].status is MemberStatus.ALIVE
        assert len(core.core.local_state()) > 0

    def test_versions_that_a_merge_refuses_are_no_news_in_a_datagram_either(self) -> None:
        core = Loner().know(2)
        core.hear(alive("n3", vsn=bytes([5] * 6)), alive("n4", vsn=b""))
        assert set(core.core.members()) == {"n1", "n2"}

    def test_a_merge_passes_over_one_bad_entry(self) -> None:
        core = Loner()
        stream = core.do(lambda serf: serf.stream_accepted())
        bad = state("n9", vsn=bytes([5] * 6))
        worse = state("n8", addr=b"abc")
        core.feed(stream, PLAIN.encode(stream_message(push_pull(bad, worse, state("n2"))), False))
        assert set(core.core.members()) == {"n1", "n2"}
        assert core.core.counters.refused["push-pull: not merged"] == 0


class TestTheShell:
    async def test_a_datagram_that_cannot_be_handled_costs_itself(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = await start("a", key=None)
        take = node._core.receive_datagram

        def odd(data: bytes, source: Endpoint, now: float) -> None:
            if data == b"odd":
                raise Odd
            take(data, source, now)

        monkeypatch.setattr(node._core, "receive_datagram", odd)
        alive_b = Alive(1, "b", ip_address("127.0.0.1").packed, 1, b"", OWN_VERSIONS)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for data in (b"odd", encode(alive_b)):
                sender.sendto(data, ("127.0.0.1", node.port))
        await eventually(lambda: "b" in node.members())

    async def test_timers_that_fail_are_armed_again(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = await start("a", key=None)
        handle = node._core.handle_timers
        failures: list[float] = []

        def odd(now: float) -> None:
            handle(now)
            if not failures:
                failures.append(now)
                raise Odd

        monkeypatch.setattr(node._core, "handle_timers", odd)
        monkeypatch.setattr(asyncio.get_running_loop(), "call_exception_handler", lambda context: None)
        await eventually(lambda: bool(failures))
        await eventually(lambda: node._timer is not None)

    async def test_a_query_handler_that_fails_is_counted(self, start: Start) -> None:
        node = await start("a", key=None)

        def odd(query: Any) -> bytes:
            raise Odd

        node.on_query("odd", odd)
        before = rejected("gossip query")
        result = await node.query("odd", timeout=0.1)
        assert (dict(result.responses), rejected("gossip query")) == ({}, before + 1)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def with_a_large_state(node: GossipNode) -> None:
    for index in range(1, 6001):
        node._core._memberlist.membership.alive(
            Alive(1, f"m{index}", (0x0AE80000 + index).to_bytes(4), 7946, b"\xff" + bytes(500), OWN_VERSIONS),
            0.0,
            tell=False,
        )
    node._core.stop()


@pytest.mark.heavy
async def test_peers_that_do_not_read_are_given_up(start: Start) -> None:
    node = await start("a", profile=replace(LOCAL, tcp_timeout_seconds=0.3))
    with_a_large_state(node)
    request = StreamCodec(Keyring(bytes(range(32))), nonces=os.urandom).encode(
        stream_message(PushPull(False, ())), False
    )
    before, loop = descriptors(), asyncio.get_running_loop()
    askers = []
    for _ in range(20):
        asker = socket.socket()
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        asker.setblocking(False)
        await loop.sock_connect(asker, ("127.0.0.1", node.port))
        asker.sendall(request)
        askers.append(asker)
    await eventually(lambda: node.counters.streams_in == 20)
    await eventually(lambda: descriptors() == before + 20)
    assert node._links._waiting.take("127.0.0.1", 8 << 20)
    for asker in askers:
        asker.close()


@pytest.mark.heavy
async def test_a_peer_that_does_not_read_what_we_send_is_given_up(start: Start) -> None:
    node = await start("a", profile=replace(LAN, tcp_timeout_seconds=0.3))
    with_a_large_state(node)
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        before = descriptors()
        with pytest.raises(Exception, match="timed out"):
            await node.join([(ip_address("127.0.0.1"), silent.getsockname()[1])])
        await eventually(lambda: descriptors() <= before)


def test_answers_that_nobody_reads_are_bounded_for_each_peer() -> None:
    core = Loner().core
    links = StreamTransport(core, core.config, lambda: 0.0, lambda: None)
    assert links._waiting.take("peer", 8 << 20)
    assert not links._waiting.take("peer", 1)
    assert links._waiting.take("other", 4 << 20)
