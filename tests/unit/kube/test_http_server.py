"""The server of health and metrics with slow, greedy and malformed clients: every valid request is answered."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.unit.kube.harness import eventually

from wgmesh_agent.kube import http_server as module
from wgmesh_agent.kube.http_server import MOST_CONNECTIONS, MOST_OF_ONE_SOURCE, Answer, HTTPServer
from wgmesh_agent.runtime import borders

BORDER = "health request"


async def answer(path: str) -> Answer:
    if path == "/fails":
        raise KeyError("nobody foresaw this")
    return Answer(200, b"x" * 50_000_000 if path == "/large" else path.encode())


@pytest.fixture
async def server() -> AsyncIterator[HTTPServer]:
    made = HTTPServer(answer)
    made.start(0)
    yield made
    await asyncio.to_thread(made.stop)


async def ask(server: HTTPServer, path: str = "/healthz", source: str = "127.0.0.1") -> int:
    def work() -> int:
        connection = http.client.HTTPConnection(
            "127.0.0.1", server.port, timeout=10, source_address=(source, 0)
        )
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status

    return await asyncio.to_thread(work)


def connect(server: HTTPServer, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10, source_address=(source, 0))


def said_to(server: HTTPServer, data: bytes) -> bytes:
    """What comes back until the server hangs up."""
    with connect(server) as client:
        with contextlib.suppress(OSError):
            client.sendall(data)
        found = b""
        with contextlib.suppress(ConnectionError):
            while part := client.recv(65536):
                found += part
        return found


def rejected(reason: str) -> int:
    return borders.rejected().get((BORDER, reason), 0)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_slow_callers_take_neither_threads_nor_descriptors_nor_anybodys_answer(
    server: HTTPServer,
) -> None:
    # One thread for all questions: the usual pool starts another one unless one is idle by then.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    threads, held = threading.active_count(), descriptors()
    slow = [connect(server, f"127.0.0.{2 + n % 4}") for n in range(4 * MOST_OF_ONE_SOURCE + 100)]
    for client in slow:
        with contextlib.suppress(OSError):
            client.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
    begun = time.monotonic()
    assert [await ask(server) for _ in range(5)] == [200] * 5
    assert time.monotonic() - begun < 2.0
    # Of this process are both ends, and a thread of the test that asks.
    assert threading.active_count() <= threads + 2
    await eventually(lambda: descriptors() <= held + len(slow) + MOST_CONNECTIONS + 2)
    for client in slow:
        client.close()
    await eventually(lambda: descriptors() <= held + 2)


async def test_one_source_that_is_greedy_costs_another_nothing(server: HTTPServer) -> None:
    patient = connect(server, "127.0.0.9")
    patient.sendall(b"GET /healthz HTTP/1.1\r\n")
    greedy = [connect(server, "127.0.0.2") for _ in range(3 * MOST_CONNECTIONS)]
    await eventually(lambda: rejected("too many connections") > 0)
    patient.sendall(b"\r\n")
    assert (await asyncio.to_thread(patient.recv, 100)).startswith(b"HTTP/1.1 200")
    for client in (patient, *greedy):
        client.close()


async def test_a_request_has_one_deadline_however_it_trickles(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.3)
    before = rejected("slow request")
    with connect(server) as client:
        client.settimeout(0.05)
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < begun + 10:
                client.sendall(b"x")
                with contextlib.suppress(TimeoutError):
                    if not await asyncio.to_thread(client.recv, 1):
                        break
        assert time.monotonic() - begun < 5
    assert rejected("slow request") == before + 1


async def test_whoever_does_not_read_an_answer_is_hung_up_on(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.3)
    before, held = rejected("TimeoutError"), descriptors()
    client = connect(server)
    client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
    await eventually(lambda: rejected("TimeoutError") == before + 1)
    await eventually(lambda: descriptors() == held + 1)
    client.close()


@pytest.mark.parametrize(
    ("data", "head"),
    [
        (b"\r\n\r\n", b"HTTP/1.1 400"),
        (os.urandom(100) + b"\r\n\r\n", b"HTTP/1.1 400"),
        (b"POST / HTTP/1.1\r\n\r\n", b"HTTP/1.1 405"),
        (b"GET /\xff HTTP/1.1\r\n\r\n", b"HTTP/1.1 200"),
        (b"GET /fails HTTP/1.1\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * 1_000_000, b""),
    ],
    ids=["empty", "noise", "another method", "no ASCII", "an answer that fails", "too long"],
)
async def test_odd_requests_cost_themselves_alone(server: HTTPServer, data: bytes, head: bytes) -> None:
    answered = await asyncio.to_thread(said_to, server, data)
    assert answered.startswith(head)
    assert bool(answered) is bool(head)
    assert await ask(server) == 200


async def test_server_that_stops_while_it_starts_leaves_nothing_open() -> None:
    """Pytest fails it for an exception in its thread, and for an unclosed socket or loop."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(50):
        made = HTTPServer(answer)
        made.start(0)
        await asyncio.to_thread(made.stop)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
