"""Health and metrics over HTTP, in threads of their own: health must be answered when the event loop does not turn."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from wgmesh_agent.kube.metrics import Look, build, metrics
from wgmesh_agent.log_output import lost_lines

log = structlog.get_logger()
BEAT_SECONDS = 1.0
STUCK_SECONDS = 30.0
LOOK_SECONDS = 5.0

Answer = tuple[int, str, bytes]
TEXT = "text/plain; charset=utf-8"


class Health:
    """`/healthz`: the event loop turns. `/readyz`: this node is a member. `/metrics`: in Prometheus' format."""

    def __init__(self, port: int, look: Callable[[], Coroutine[Any, Any, Look | None]]) -> None:
        """
        Args:
            port: TCP, on all addresses; 0: any that is free.
            look: run on the event loop for each reading of metrics; None while there is no session.
        """
        self.is_member = False
        self._port = port
        self._look = look
        self._last_beat = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return self._port if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Listens on all addresses, of IPv6 too where the machine has it. Raises OSError if the port is taken."""
        if self._server is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._server = _server(self._port, self.answer)
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        self._last_beat = time.monotonic()

    def stop(self) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    async def beat(self) -> None:
        """Says once a second that the event loop turns."""
        while True:
            self._last_beat = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    def answer(self, path: str) -> Answer:
        """Status, content type and body for a path. Called in threads, not on the event loop."""
        if path == "/healthz":
            stuck = self.is_member and time.monotonic() - self._last_beat > STUCK_SECONDS
            return (503, TEXT, b"the event loop is stuck\n") if stuck else (200, TEXT, b"ok\n")
        if path == "/readyz":
            return (200, TEXT, b"ok\n") if self.is_member else (503, TEXT, b"not joined yet\n")
        if path == "/metrics":
            return self._metrics()
        return 404, TEXT, b"/healthz, /readyz or /metrics\n"

    def _metrics(self) -> Answer:
        assert self._loop is not None
        if self._loop.is_closed():
            return 503, TEXT, b"the agent is ending\n"
        # What a session holds may be read on its own event loop only.
        asked = asyncio.run_coroutine_threadsafe(self._look(), self._loop)
        try:
            look = asked.result(LOOK_SECONDS)
        except TimeoutError:
            asked.cancel()
            return 503, TEXT, b"the event loop does not answer\n"
        except Exception as error:
            # A session that ends while it is looked at has many ways to say so.
            log.warning("metrics not read", why=repr(error))
            return 503, TEXT, b"no metrics now: see the agent's log\n"
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Once(look))
        return 200, CONTENT_TYPE_LATEST, generate_latest(registry)


class _Once(Collector):
    """One look, for one reading."""

    def __init__(self, look: Look | None) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        yield from build(version("wgmesh"), lost_lines())
        if self._look is not None:
            yield from metrics(self._look)


def _server(port: int, answer: Callable[[str], Answer]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            status, kind, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            log.debug("health asked", request=format % args)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        # The kubelet asks at the node's own address, which may be one of IPv6.
        address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

        def server_bind(self) -> None:
            if self.address_family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            super().server_bind()

    return Server(("", port), Handler)
