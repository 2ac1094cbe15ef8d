"""HTTP server for the operator's probes: over IPv4 and IPv6, from the start of the process to its end.

kopf's own endpoint listens on one address family only: nothing reaches `0.0.0.0` in an IPv6-only cluster, and asyncio
opens `::` without IPv4. It also starts after the API server was reached, long after the first probes.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wgmesh_operator.liveness import ControllerStuck, LivenessCheck

log = logging.getLogger(__name__)
LIVENESS = "/healthz"
READINESS_PATH = "/healthz?ready"
"""Paths that the chart's probes request."""
REQUEST_SECONDS = 10.0
MAX_CONNECTIONS = 32
"""The oldest connection is closed for the next: open connections cannot block a probe."""
TEXT, JSON = "text/plain; charset=utf-8", "application/json"

Answer = tuple[int, str, bytes]


class Health:
    """State behind the probes. Used from several threads; `counts` gives rejected input."""

    def __init__(self, progress: LivenessCheck, counts: Callable[[], Mapping[str, int]]) -> None:
        self._progress = progress
        self._counts = counts
        self._started = threading.Event()

    def start(self) -> None:
        """The API server was reached: from now on the operator is ready, and its progress counts."""
        self._progress.heartbeat()
        self._started.set()

    def answer(self, path: str) -> Answer:
        if path not in (LIVENESS, READINESS_PATH):
            return 404, TEXT, f"{LIVENESS}\n".encode()
        if not self._started.is_set():
            # not killed while the API server is unreachable, and not ready either
            return 503 if path == READINESS_PATH else 200, TEXT, b"waiting for the API server\n"
        try:
            progress = self._progress.check()
        except ControllerStuck as error:
            return 503, TEXT, f"{error}\n".encode()
        return 200, JSON, json.dumps({"progress": progress, "rejected": dict(self._counts())}).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, answer: Callable[[str], Answer]) -> None:
        self._open: deque[socket.socket] = deque()
        # with IPv6 disabled there is no such socket
        self.address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        super().__init__(("", port), _handler(answer))

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.append(request)
        if len(self._open) > MAX_CONNECTIONS:
            with suppress(OSError):
                self._open.popleft().shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with suppress(ValueError):
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("probe of %s not answered", client_address, exc_info=True)


def _handler(answer: Callable[[str], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            status, kind, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            log.debug(format, *args)

    return Handler


@contextmanager
def probe_server(port: int, answer: Callable[[str], Answer]) -> Iterator[None]:
    """Answers probes on all addresses during the block.

    Raises:
        OSError: the port is in use.
    """
    server = _Server(port, answer)
    thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
