"""Calls to an API server on loopback: whatever goes wrong in one is an ApiError, and the next is another."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.client.configuration import Configuration

from wgmesh_agent.kube.api_client import ApiError, KubernetesApi, nodes_path


class Server(socketserver.ThreadingTCPServer):
    """Answers every request with `reply`, as it is, and hangs up."""

    daemon_threads = allow_reuse_address = True
    reply = b""


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        assert isinstance(self.server, Server)
        self.wfile.write(self.server.reply)


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body) if length is None else length}"
    )
    return head.encode() + b"\r\n\r\n" + body


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def api(server: Server) -> KubernetesApi:
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_address[1]}"
    made = KubernetesApi()
    made._use(configuration)
    return made


BODY = json.dumps({"metadata": {"name": "blue.a"}}).encode()
BROKEN: dict[str, bytes] = {
    "nothing at all": b"",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "a body that breaks off": http(BODY[:20], length=len(BODY)),
    "a chunk that breaks off": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
    "a size that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmoon\r\n",
    "compression that is none": (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx"
    ),
    "no JSON": http(b"<html>"),
    "no UTF-8": http(b'"\xff"'),
    "null": http(b"null"),
    "a list": http(b"[]"),
    "nesting": http(b"[" * 100_000),
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("call", ["get", "create", "apply"])
async def test_every_failure_of_a_call_is_an_api_error(
    server: Server, api: KubernetesApi, reply: bytes, call: str
) -> None:
    server.reply = reply
    body: tuple[dict[str, Any], ...] = () if call == "get" else ({"metadata": {"name": "a"}},)
    with pytest.raises(ApiError) as raised:
        await getattr(api, call)(nodes_path("blue.a"), *body)
    assert raised.value.status == 0
    server.reply = http(BODY)
    assert await api.get(nodes_path("blue.a")) == json.loads(BODY)


@pytest.mark.parametrize("reply", [BROKEN["nothing at all"], BROKEN["a chunk that breaks off"]])
def test_a_watch_that_breaks_is_an_api_error(server: Server, api: KubernetesApi, reply: bytes) -> None:
    server.reply = reply
    with pytest.raises(ApiError):
        list(api.stream(nodes_path(), [("watch", "true")]))


@pytest.mark.parametrize(
    "reason", [b'{"message": "no such thing"}', b"no such thing", b"[" * 100_000 + b"no such thing"]
)
async def test_a_refusal_has_its_status_and_reason(server: Server, api: KubernetesApi, reason: bytes) -> None:
    server.reply = http(reason, "404 Not Found")
    with pytest.raises(ApiError) as raised:
        await api.get(nodes_path("blue.a"))
    assert raised.value.status == 404
    assert str(raised.value).startswith("GET /apis/")


def test_a_watch_that_is_refused_has_its_status(server: Server, api: KubernetesApi) -> None:
    server.reply = http(b'{"message": "too many requests"}', "429 Too Many Requests")
    with pytest.raises(ApiError, match="too many requests") as raised:
        list(api.stream(nodes_path(), [("watch", "true")]))
    assert raised.value.status == 429


async def test_a_call_before_there_is_a_connection_is_an_api_error() -> None:
    with pytest.raises(ApiError):
        await KubernetesApi().get(nodes_path("blue.a"))
