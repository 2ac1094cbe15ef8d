"""The limits of the join port: held connections do not prevent others from joining."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import resource
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address
from types import FrameType

import pytest
from structlog.testing import capture_logs
from tests.unit.mesh.join.server_harness import Authority, Bench, request_join
from tests.unit.mesh.join.test_server import authority, bench  # noqa: F401 - fixtures

from wgmesh_agent.mesh.grpc_peer import caller_of_inner, counted_source
from wgmesh_agent.mesh.join import connection_limiter as module
from wgmesh_agent.mesh.join.connection_limiter import (
    DESCRIPTORS_KEPT,
    LEAST_CONNECTIONS,
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_A_SOURCE,
    ConnectionFront,
    most_connections,
)
from wgmesh_agent.runtime import borders


class Ground:
    """A front on loopback, and behind it a server that echoes, and notes who came."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self.front = ConnectionFront(most, most_of_one)
        self.callers: list[str] = []
        self.port = 0
        self.clients: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        name = "\0" + self.front.inner.removeprefix("unix-abstract:")
        self.server = await asyncio.start_unix_server(self._echo, name)
        await self.front.start("127.0.0.1:0")
        self.port = self.front.port

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        self.callers.append(caller_of_inner("unix-abstract:" + peer.decode().removeprefix("\0")))
        with contextlib.suppress(OSError):
            while data := await reader.read(1000):
                writer.write(data)
        writer.close()

    async def connect(self, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        streams = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        self.clients.append(streams[1])
        return streams

    async def stop(self) -> None:
        await self.front.close()
        self.server.close()
        for writer in self.clients:
            writer.transport.abort()
        await asyncio.sleep(0)


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    made = Ground(8, 4)
    await made.start()
    yield made
    await made.stop()


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def ends(front: ConnectionFront, most_descriptors: float = math.inf) -> None:
    """All of its connections; and with them all descriptors but so many."""
    async with asyncio.timeout(5):
        while len(front) or descriptors() > most_descriptors:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)


async def echoes(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
    reader, writer = streams
    with contextlib.suppress(OSError):
        writer.write(b"x")
        async with asyncio.timeout(5):
            return await reader.read(1) == b"x"
    return False


async def test_bytes_pass_and_the_caller_keeps_its_address(ground: Ground) -> None:
    streams = await ground.connect("127.0.0.7")
    assert await echoes(streams)
    assert ground.callers == [f"ipv4:127.0.0.7:{streams[1].get_extra_info('sockname')[1]}"]


async def test_a_source_with_too_many_connections_loses_its_oldest(ground: Ground) -> None:
    streams = [await ground.connect() for _ in range(5)]
    assert [await echoes(one) for one in streams] == [False, True, True, True, True]
    assert len(ground.front) == 4


async def test_when_all_are_too_many_the_source_with_most_loses_one(ground: Ground) -> None:
    greedy = [await ground.connect("127.0.0.2") for _ in range(4)]
    others = [await ground.connect(f"127.0.1.{number}") for number in range(1, 7)]
    assert [await echoes(one) for one in others] == [True] * 6
    assert sum([await echoes(one) for one in greedy]) == 2
    assert len(ground.front) == 8
    assert borders.rejected()[("join connection", "too_many")] >= 2


@pytest.mark.parametrize("bound", ["IDLE_SECONDS", "MAX_SECONDS"])
async def test_a_connection_that_is_idle_or_old_is_closed(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(module, bound, 0.2)
    reader, _ = await ground.connect()
    async with asyncio.timeout(5):
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
    await ends(ground.front)


async def test_no_descriptor_is_left_when_connections_end(ground: Ground) -> None:
    before = descriptors()
    for _ in range(20):
        _, writer = await ground.connect()
        writer.close()
    await ends(ground.front, before)


@pytest.mark.heavy
async def test_connections_that_are_reset_leave_no_cycles_to_the_collector(ground: Ground) -> None:
    """A client's own streams would: it has sockets."""
    loop = asyncio.get_running_loop()
    gc.collect()
    gc.disable()
    try:
        for number in range(40):
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, ("127.0.0.1", ground.port))
                if number % 2:
                    await loop.sock_sendall(client, b"x")
                    await loop.sock_recv(client, 1)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await ends(ground.front)
        ground.server.close()
        left = gc.get_objects()
        named = Counter(type(thing).__name__ for thing in left if _is_of_front(thing))
    finally:
        gc.enable()
    assert named == {}


def _is_of_front(thing: object) -> bool:
    """Part of a connection that has ended: a frame of its functions, a task of them, or its socket."""
    if isinstance(thing, FrameType):
        return thing.f_code.co_filename == module.__file__
    if isinstance(thing, asyncio.Task):
        return "ConnectionFront" in repr(thing.get_coro()) or "_pump" in repr(thing.get_coro())
    return isinstance(thing, module._Connection)


async def test_who_is_closed_before_it_was_looked_at_is_closed_all_the_same(ground: Ground) -> None:
    """More connections wait than one source may have: all of them are accepted in one step."""
    before = descriptors()
    clients = [socket.create_connection(("127.0.0.1", ground.port)) for _ in range(20)]
    async with asyncio.timeout(5):
        while len(ground.front) != 4 or len(ground.callers) < 4:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)
    for client in clients[:-4]:
        client.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    for client in clients:
        client.close()
    await ends(ground.front, before)


async def test_without_a_descriptor_it_accepts_again_once_there_is_one(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = socket.socket()
    lowest = os.dup(0)
    os.close(lowest)
    with capture_logs() as logs:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            client.connect(("127.0.0.1", ground.port))
            await asyncio.sleep(0.3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    said = [line for line in logs if "cannot accept connections" in line["event"]]
    assert 1 <= len(said) <= 5
    async with asyncio.timeout(5):
        while not ground.callers:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)
    client.close()


async def test_a_port_that_is_taken_is_an_os_error(ground: Ground) -> None:
    with pytest.raises(OSError, match="in use"):
        await ConnectionFront().start(f"127.0.0.1:{ground.port}")


@pytest.mark.heavy
async def test_who_holds_idle_connections_keeps_nobody_from_joining(
    bench: Bench,  # noqa: F811
    authority: Authority,  # noqa: F811
) -> None:
    host, _, port = bench.address.rpartition(":")
    held = []
    for number in range(2, 5):
        for _ in range(MAX_CONNECTIONS_A_SOURCE):
            held.append(await asyncio.open_connection(host, int(port), local_addr=(f"127.0.0.{number}", 0)))
    tls = authority.credentials("alpha") if bench.tls else None
    assert (await request_join(bench, tls, 1, "alpha")).node == "alpha"
    for _, writer in held:
        writer.transport.abort()
    await asyncio.sleep(0)


def test_a_name_that_is_of_no_inner_socket_stays() -> None:
    for peer in ("ipv4:192.0.2.1:5", "unix:/x", "unix-abstract:a.b.zz.1", ""):
        assert caller_of_inner(peer) == peer
    assert caller_of_inner("unix-abstract:w.x.20010db8" + "0" * 23 + "1.9") == "ipv6:[2001:db8::1]:9"


def test_an_ipv6_source_is_its_64() -> None:
    one, two = (counted_source(ip_address(text)) for text in ("2001:db8::1", "2001:db8::ffff:1"))
    assert one == two != counted_source(ip_address("2001:db8:0:1::1"))


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_connections_leave_descriptors_for_all_else() -> None:
    most = most_connections()
    assert LEAST_CONNECTIONS <= most < MAX_CONNECTIONS
    assert 3 * most + DESCRIPTORS_KEPT <= 300


async def test_who_opens_connections_without_end_costs_no_more_handshakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS_A_SOURCE", 8)
    monkeypatch.setattr(module, "CONNECTIONS_A_SECOND_A_SOURCE", 1)
    ground = Ground(64, 64)
    await ground.start()
    try:
        greedy = [await ground.connect("127.0.0.2") for _ in range(30)]
        assert 8 <= sum([await echoes(one) for one in greedy]) <= 12
        assert len(ground.callers) <= 12
        assert await echoes(await ground.connect("127.0.0.3"))
        assert borders.rejected()[("join connection", "too_often")] >= 18
    finally:
        await ground.stop()
