"""How long an agent among 5,000 members holds its event loop, part by part."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import structlog
from tests.bench import crowded_node
from tests.bench.crowded_node import MESH, OWN, OWN_ADDRESS, Hub, claims, full_state
from tests.bench.loop_watch import LoopWatch, Steps
from tests.bench.measurement import CannotRun, Measurement
from tests.unit.kube.harness import make_authority, tls_files

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.session_end import SessionEnd
from wgmesh_agent.agent.session_start import SessionStart
from wgmesh_agent.kube.api_client import KubernetesApi, nodes_path
from wgmesh_agent.kube.certificate import CertificateStore
from wgmesh_agent.kube.list_watch import Freshness, Object
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.kube.roster_policy import RosterPolicy
from wgmesh_agent.kube.roster_sync import RosterSync
from wgmesh_agent.kube.status_writer import StatusWriter
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.runtime.gc_tuning import tune_garbage_collector
from wgmesh_api.roster import API_VERSION

T = TypeVar("T")
TITLE = "the longest step on the event loop of one agent among 5,000 members"
MEMBERS, QUICK_MEMBERS = 5000, 1000
REACH_MS = 50.0
PART_SECONDS, QUICK_PART_SECONDS = 10.0, 3.0
EXCHANGES = 3
STATUS_WRITES_A_SECOND = 50
DEADLINE_SECONDS = 120.0
MADE = "2026-01-01T00:00:00Z"


def measure(quick: bool) -> list[Measurement]:
    """One agent in this process, without TLS; the others are bytes and objects."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(io.StringIO()),
    )
    parts: dict[str, Steps] = {}
    try:
        with tempfile.TemporaryDirectory() as folder, LoopWatch() as watch:
            asyncio.run(_Bench(watch, parts, Path(folder), quick).run())
    finally:
        structlog.reset_defaults()
    rows = []
    for what, steps in parts.items():
        long = sorted(steps.longest_of.items(), key=lambda one: -one[1])
        of = ", ".join(f"{called} {1000 * seconds:.0f} ms" for called, seconds in long)
        print(f"  {what}: {of or 'all short'}; {steps.longest_on_clock * 1000:.0f} ms on the clock")
        ms = steps.longest * 1000
        reach = f"≤ {REACH_MS:g} ms"
        rows.append(Measurement(f"{what}: longest step", "ms", [ms], reach=reach, reached=ms <= REACH_MS))
        rows.append(Measurement(f"{what}: the loop at work", "%", [steps.share]))
    return rows


def _next_start(node: MeshNode) -> SessionStart:
    raise CannotRun("the roster moves this node")


class _Feed(KubernetesApi):
    """An API server whose every word comes from a thread, as from a watch."""

    def __init__(self, mesh: Object, nodes: list[Object]) -> None:
        super().__init__()
        self._mesh = mesh
        self._nodes = nodes
        self._tell: Callable[[str, Object], object] = lambda kind, body: None
        self._ended = threading.Event()
        self.written = 0

    def watch(
        self,
        path: str,
        query: list[tuple[str, str]],
        read: Callable[[Object], T],
        replace: Callable[[list[T]], None],
        change: Callable[[str, T], None],
    ) -> Freshness:
        bodies, loop = [self._mesh], asyncio.get_running_loop()
        if path == nodes_path():
            bodies = self._nodes
            self._tell = lambda kind, body: loop.call_soon_threadsafe(change, kind, read(body))

        def work() -> None:
            loop.call_soon_threadsafe(replace, [read(body) for body in bodies])

        threading.Thread(target=work, daemon=True).start()
        return Freshness()

    def write_statuses(self, a_second: int) -> threading.Thread:
        """As many agents as that write their status in each second, each a little changed."""

        def work() -> None:
            while not self._ended.wait(1 / a_second):
                body = self._nodes[self.written % len(self._nodes)]
                self.written += 1
                status = {**body["status"], "reachablePeers": self.written}
                self._tell("MODIFIED", {**body, "status": status})

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def end(self) -> None:
        self._ended.set()


class _Bench:
    def __init__(self, watch: LoopWatch, parts: dict[str, Steps], folder: Path, quick: bool) -> None:
        self._watch = watch
        self._parts = parts
        self._folder = folder
        self._members = claims(QUICK_MEMBERS if quick else MEMBERS)
        self._seconds = QUICK_PART_SECONDS if quick else PART_SECONDS
        self._port = crowded_node.free_port()

    async def run(self) -> None:
        members, port = self._members, self._port
        node = crowded_node.node(self._folder, port)
        hub = Hub(str(members[0].addresses[0]), port, full_state(members, port, join=True, reply=True))
        # As the agent does, for what it has imported; here also what stands for the others.
        tune_garbage_collector()
        await node.start()
        try:
            async with self._part(f"{len(members):,} members met at once, bound and programmed"):
                await node.gossip.join([(members[0].addresses[0], port)])
                await _until(lambda: len(node.ledger) == len(members), "all members bound")
                await _until_programmed(node, len(members))
                await asyncio.sleep(1.0)
            async with self._part("idle"):
                await asyncio.sleep(self._seconds)
            request = await asyncio.to_thread(full_state, members, port, join=False, reply=False)
            async with self._part("full states exchanged with others"):
                for _ in range(EXCHANGES):
                    await asyncio.to_thread(_exchange, port, request)
                await asyncio.sleep(1.0)
            await self._follow(node)
        finally:
            await node.stop()
            hub.close()

    async def _follow(self, node: MeshNode) -> None:
        own = [_body(node.local.claim())]
        feed = _Feed(_mesh_body(), own + [_body(claim) for claim in self._members])
        view = RosterCache(MESH, OWN)
        identity = CertificateStore(self._folder)

        async def applied(path: str, body: Object) -> Object:
            return body

        feed.apply = applied  # type: ignore[method-assign]
        credentials = Credentials(tls_files(make_authority()))
        following = RosterSync(
            feed, view, identity, RosterPolicy(view, identity), lambda own: True, _next_start
        )
        statuses = StatusWriter(feed, view, identity, credentials, following.member_uid, str)
        end = SessionEnd()
        tasks = [
            asyncio.create_task(following.run(node, end), name="following"),
            asyncio.create_task(statuses.run(node), name="status"),
        ]
        try:
            async with self._part("the roster listed and compared"):
                view.start(feed)
                await _until(lambda: view.synced, "the roster listed")
                await asyncio.sleep(2.0)
            writing = feed.write_statuses(STATUS_WRITES_A_SECOND)
            async with self._part(f"the roster followed, {STATUS_WRITES_A_SECOND} statuses written a second"):
                await asyncio.sleep(self._seconds)
            feed.end()
            await asyncio.to_thread(writing.join)
            if end.leave_requested.is_set() or len(node.ledger) != len(self._members):
                raise CannotRun("the roster was not understood")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    @asynccontextmanager
    async def _part(self, what: str) -> AsyncIterator[None]:
        steps = self._watch.part()
        yield
        steps.end()
        self._watch.part()
        self._parts[what] = steps


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise CannotRun(f"not within {DEADLINE_SECONDS:g} s: {what}")
        await asyncio.sleep(0.05)


async def _until_programmed(node: MeshNode, count: int) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len((await node.device.read()).peers) != count:
        if time.monotonic() > deadline:
            raise CannotRun(f"not within {DEADLINE_SECONDS:g} s: all members programmed")
        await asyncio.sleep(0.2)


def _exchange(port: int, request: bytes) -> None:
    """As another member that starts an exchange of states."""
    with socket.create_connection((str(OWN_ADDRESS), port), DEADLINE_SECONDS) as connection:
        connection.sendall(request)
        while connection.recv(1 << 16):
            continue


def _body(claim: Claim) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "WgMeshNode",
        "metadata": {"name": f"{MESH}.{claim.node}", "uid": f"uid-{claim.node}", "creationTimestamp": MADE},
        "spec": {
            "mesh": MESH,
            "node": claim.node,
            "addresses": [str(a) for a in claim.addresses],
            "bootstrap": claim.bootstrap,
        },
        "status": {
            "phase": "Joined",
            "publicKey": str(claim.public_key),
            "endpoint": str(claim.endpoints[0]),
            "reachablePeers": 0,
            "expectedPeers": 4999,
            "peers": "0/4999",
        },
    }


def _mesh_body() -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "WgMesh",
        "metadata": {"name": MESH, "uid": "uid-mesh", "creationTimestamp": MADE},
        "spec": {"cidrs": ["127.0.0.0/8"]},
        "status": {},
    }
