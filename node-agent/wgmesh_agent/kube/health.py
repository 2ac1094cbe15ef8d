"""Health and metrics over HTTP, in a thread of their own: they must answer when the event loop does not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from wgmesh_agent.daemon.session import Session

log = structlog.get_logger()
BEAT_SECONDS = 1.0
STUCK_SECONDS = 30.0


class Health(Collector):
    """`/healthz`: the event loop turns. `/readyz`: this node is a member. `/metrics`: in Prometheus' format."""

    def __init__(self, port: int) -> None:
        self.session: Session | None = None
        self._port = port
        self._last_beat = time.monotonic()
        self._server: ThreadingHTTPServer | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def start(self) -> None:
        """Listens on all addresses. Raises OSError if the port is taken."""
        if self._server is not None:
            return
        health = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                status, kind, body = health.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                log.debug("health asked", request=format % args)

        self._server = ThreadingHTTPServer(("", self._port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        self._last_beat = time.monotonic()

    async def beat(self) -> None:
        """Says once a second that the event loop turns."""
        while True:
            self._last_beat = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body for a path."""
        text = "text/plain; charset=utf-8"
        if path == "/healthz":
            stuck = self.session is not None and time.monotonic() - self._last_beat > STUCK_SECONDS
            return (503, text, b"the event loop is stuck\n") if stuck else (200, text, b"ok\n")
        if path == "/readyz":
            return (200, text, b"ok\n") if self.session is not None else (503, text, b"not joined yet\n")
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        return 404, text, b"/healthz, /readyz or /metrics\n"

    def collect(self) -> Iterator[Metric]:
        """The metrics of the running session; none before there is one."""
        session = self.session
        if session is None:
            return
        node = session.node
        links = node.prober.links().values()
        heard = sum(link.heard for link in links)
        yield GaugeMetricFamily("wgmesh_peers", "Members this node has as WireGuard peers.", len(node.ledger))
        yield GaugeMetricFamily("wgmesh_peers_heard", "Peers heard through the tunnel lately.", heard)
        statuses = GaugeMetricFamily("wgmesh_members", "Members by what gossip says.", labels=["status"])
        counts: dict[str, int] = {}
        for member in node.members():
            counts[member.status.name.lower()] = counts.get(member.status.name.lower(), 0) + 1
        for status, count in sorted(counts.items()):
            statuses.add_metric([status], count)
        yield statuses
        refused = CounterMetricFamily(
            "wgmesh_refused_claims", "Claims refused, by reason.", labels=["reason"]
        )
        for reason, count in sorted(node.refusals.counts.items()):
            refused.add_metric([reason], count)
        yield refused
        yield GaugeMetricFamily(
            "wgmesh_bootstrap", "1 if this node admits others.", 1 if node.record.bootstrap else 0
        )
        yield GaugeMetricFamily(
            "wgmesh_mtu_bytes", "Bytes a packet inside the mesh may have.", node.identity.mtu
        )
