"""Health and metrics of an agent, served even while its event loop is blocked."""

from __future__ import annotations

import asyncio
import errno
import faulthandler
from collections.abc import Callable, Coroutine, Iterator, Mapping

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from wgmesh_agent.kube.http_server import Answer, HTTPServer
from wgmesh_agent.kube.metrics import MetricsSnapshot, build, metrics, rejected_input
from wgmesh_agent.linux.port_owner import taken
from wgmesh_agent.mesh.membership.policy import STALE_ROSTER_SECONDS
from wgmesh_agent.runtime import borders
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.runtime.log_on_change import LogOnChange
from wgmesh_agent.runtime.log_output import lost_lines
from wgmesh_api.version import VERSION

log = structlog.get_logger()
HEARTBEAT_SECONDS = 1.0
STUCK_SECONDS = 30.0
END_SECONDS = 90.0
"""An event loop that is blocked for this long does not recover."""
SNAPSHOT_TIMEOUT_SECONDS = 5.0
SHARED_SECONDS = 2.0
"""Maximum age of a metrics snapshot that concurrent scrapes share: reading a device of thousands of peers is
expensive.
"""
RETRY_SECONDS = 10.0


class HealthServer:
    """`/healthz`: the event loop runs. `/readyz`: this node is a member, and all required components run. `/metrics`:
    in Prometheus' format.

    No probe is needed to terminate an agent whose loop is blocked: the port may belong to another program.
    """

    def __init__(
        self,
        port: int,
        look: Callable[[], Coroutine[object, object, MetricsSnapshot | None]],
        roster_age: Callable[[], float | None],
        clock: Clock,
        *,
        retry_seconds: float = RETRY_SECONDS,
        end_seconds: float = END_SECONDS,
        shared_seconds: float = SHARED_SECONDS,
    ) -> None:
        """
        Args:
            port: TCP, on all addresses; 0: any free one.
            look: runs on the event loop for a metrics snapshot; None without a session.
            roster_age: seconds since the API server confirmed the cache; None: not known yet.
            end_seconds: maximum time for which the event loop may be blocked.
        """
        self._is_member = False
        self._wanted_port = port
        self._look = look
        self._roster_age = roster_age
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._end_seconds = end_seconds
        self._shared_seconds = shared_seconds
        self._down: Callable[[], Mapping[str, str]] = dict
        self._last_beat = self._clock.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: HTTPServer | None = None
        self._reading: asyncio.Task[Answer] | None = None
        self._read: tuple[float, Answer] | None = None
        self._fault = LogOnChange()

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return self._wanted_port if self._server is None else self._server.port

    def problem(self) -> str:
        """Why health and metrics are unavailable; empty if they are available."""
        return self._fault.why

    async def start(self) -> bool:
        """Listens, or logs which program has the port: an agent without metrics keeps its tunnels. Returns whether it
        listens.
        """
        if self._server is not None:
            return True
        self._loop = asyncio.get_running_loop()
        server = HTTPServer(self.answer)
        try:
            server.start(self._wanted_port)
        except OSError as error:
            self._say(await asyncio.to_thread(_sentence, self._wanted_port, error))
            return False
        if self._fault.is_over():
            log.warning("health and metrics available again", port=self._wanted_port)
        self._server = server
        self._last_beat = self._clock.monotonic()
        return True

    def _say(self, why: str) -> None:
        if self._fault.is_new(why):
            log.error(
                "health and metrics unavailable",
                port=self._wanted_port,
                error=why,
                retry_seconds=self._retry_seconds,
                next="keeping tunnels",
            )

    async def serve(self) -> None:
        """Listens as soon as the port is free; until then logs its owner, at each change."""
        while True:
            if await self.start():
                return
            await asyncio.sleep(self._retry_seconds)

    def stop(self) -> None:
        """Stops listening."""
        if self._server is not None:
            self._server.stop()

    @property
    def is_member(self) -> bool:
        return self._is_member

    def joined(self, down: Callable[[], Mapping[str, str]]) -> None:
        """This node is a member from now on. `down`: the required components that are not running, and why."""
        self._is_member, self._down = True, down

    def left(self) -> None:
        """This node is no longer a member."""
        self._is_member, self._down = False, dict

    async def heartbeat(self) -> None:
        """Reports once a second that the event loop runs. If it has not for 90 s, the process terminates, and the
        kubelet restarts it: the last output on standard error is the stacks of all threads, and `Timeout`.
        """
        try:
            while True:
                self._last_beat = self._clock.monotonic()
                # Its thread is not Python's: it terminates also an agent that is blocked in C while it holds the
                # interpreter's lock.
                faulthandler.dump_traceback_later(self._end_seconds, exit=True)
                await asyncio.sleep(HEARTBEAT_SECONDS)
        finally:
            faulthandler.cancel_dump_traceback_later()

    async def answer(self, path: str) -> Answer:
        """Called on the server's loop, not on the agent's."""
        if path == "/healthz":
            stuck = self._is_member and self._clock.monotonic() - self._last_beat > STUCK_SECONDS
            return Answer(503, b"the event loop is stuck\n") if stuck else Answer(200, b"ok\n")
        if path == "/readyz":
            problem = self._problem()
            return Answer(503, f"{problem}\n".encode()) if problem else Answer(200, b"ok\n")
        if path == "/metrics":
            return await self._shared_metrics()
        return Answer(404, b"/healthz, /readyz or /metrics\n")

    def _problem(self) -> str:
        """Why this node is not ready; empty if it is."""
        if not self._is_member:
            return "not joined yet"
        age = self._roster_age()
        if age is not None and age > STALE_ROSTER_SECONDS:
            return f"the roster is {age:.0f} s old: the API server cannot be watched"
        down = self._down()
        return f"not running: {', '.join(sorted(down))}" if down else ""

    async def _shared_metrics(self) -> Answer:
        """One snapshot for all scrapes within seconds, and those during it."""
        now = self._clock.monotonic()
        if self._read is not None and now - self._read[0] < self._shared_seconds:
            return self._read[1]
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._kept_metrics(), name="metrics")
        return await asyncio.shield(self._reading)

    async def _kept_metrics(self) -> Answer:
        # Cached before any scrape is answered: one in between would have everything read again.
        answer = await self._metrics()
        self._read = (self._clock.monotonic(), answer)
        return answer

    async def _metrics(self) -> Answer:
        assert self._loop is not None
        if self._loop.is_closed():
            return Answer(503, b"the agent is ending\n")
        # A session's data may be read on its own event loop only.
        asked = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._look(), self._loop))
        try:
            async with asyncio.timeout(SNAPSHOT_TIMEOUT_SECONDS):
                look = await asked
        except TimeoutError:
            return Answer(503, b"the event loop does not answer\n")
        except Exception as error:
            # A session that ends during a snapshot may raise many exceptions.
            log.warning("cannot collect metrics", error=repr(error))
            return Answer(503, b"no metrics now: see the agent's log\n")
        # Thousands of peers take a while to render; probes are answered in the meantime.
        return await asyncio.to_thread(self._written, look)

    def _written(self, look: MetricsSnapshot | None) -> Answer:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_SnapshotCollector(look))
        return Answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)


def _sentence(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return str(taken(port, ("tcp",), "health and metrics; agent.metricsPort of the WgMesh").strerror)
    return error.strerror or repr(error)


class _SnapshotCollector(Collector):
    """Collects one snapshot."""

    def __init__(self, look: MetricsSnapshot | None) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        yield from build(VERSION, lost_lines())
        if self._look is not None:
            yield from metrics(self._look)
        else:
            yield rejected_input(borders.rejected())
