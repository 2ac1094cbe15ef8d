"""The loop that brings meshes to where they should be.

Events only mark a mesh; some time later one pass looks at the whole of it, plans, and does what is planned. What goes
wrong is tried again, less and less often.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_network
from typing import TypeVar

from wgmesh_api.roster import API_VERSION
from wgmesh_operator.cluster import CONNECTIONS, ApiError, Cluster, Unreachable
from wgmesh_operator.decisions.actions import Action, Apply, Emit, Json, Kind
from wgmesh_operator.decisions.calm import write_at
from wgmesh_operator.decisions.deployment import Deployment
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.plan import Plan, plan_mesh
from wgmesh_operator.progress import Progress
from wgmesh_operator.resources import WATCHED_KINDS, Watched
from wgmesh_operator.store import Store

log = logging.getLogger(__name__)
T = TypeVar("T")
_BATCH = 4 * CONNECTIONS


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. `debounce`: from the first mark to the pass; `load`: share of time passes may take."""

    debounce: float = 0.2
    load: float = 0.2
    first_retry: float = 0.5
    last_retry: float = 60.0
    turn: float = 5.0
    sweep: float = 30.0
    resync: float = 300.0


@dataclass(slots=True)
class _Mesh:
    """What is remembered of a mesh from one pass to the next; all of it may be lost."""

    due: float | None = None
    failures: int = 0
    trouble: str = ""
    status_written: datetime | None = None
    refreshed: bool = False


class Worker:
    """`clock` gives monotonic seconds, `now` the time of day."""

    def __init__(
        self,
        cluster: Cluster,
        deployment: Deployment,
        entropy: Entropy,
        progress: Progress,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        pace: Pace | None = None,
    ) -> None:
        self._cluster = cluster
        self._deployment = deployment
        self._entropy = entropy
        self._progress = progress
        self._clock = clock
        self._now = now
        self._pace = pace or Pace()
        self._meshes: dict[str, _Mesh] = {}
        self._marked = asyncio.Event()
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="api")
        self.store = Store(deployment.namespace, self.mark)

    def mark(self, names: Iterable[str], delay: float | None = None) -> None:
        """Look at these meshes soon."""
        due = self._clock() + (self._pace.debounce if delay is None else delay)
        for name in names:
            mesh = self._meshes.setdefault(name, _Mesh())
            mesh.due = due if mesh.due is None else min(mesh.due, due)
        self._marked.set()

    async def run(self) -> None:
        """Work until cancelled. Begins with a list of everything: decisions on half of it would be wrong."""
        try:
            await self._first_lists()
            next_sweep = self._clock() + self._pace.sweep
            next_resync = self._clock() + self._pace.resync
            while True:
                self._progress.beat()
                if self._clock() >= next_resync:
                    await self._attempt(self._resync(), "comparing with full lists")
                    next_resync = self._clock() + self._pace.resync
                elif self._clock() >= next_sweep:
                    await self._attempt(self._take_list(Watched.REQUESTS), "sweeping requests")
                    next_sweep = self._clock() + self._pace.sweep
                await self._pass()
                await self._wait(min(next_sweep, next_resync))
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _first_lists(self) -> None:
        for attempt in itertools.count():
            self._progress.beat()
            if await self._attempt(self._resync(), "reading the cluster"):
                return
            await asyncio.sleep(self._retry_after(attempt))

    async def _pass(self) -> None:
        for name, mesh in list(self._meshes.items()):
            if mesh.due is None or mesh.due > self._clock():
                continue
            mesh.due = None
            began = self._clock()
            await self._reconcile(name, mesh)
            self._progress.passes += 1
            self._progress.beat()
            if mesh.due is not None:
                # a large mesh that changes all the time must leave time for others, and for the watches
                mesh.due = max(mesh.due, self._clock() + (self._clock() - began) * (1 / self._pace.load - 1))
            elif name not in self.store.mesh_names:
                del self._meshes[name]

    async def _wait(self, latest: float) -> None:
        due = [mesh.due for mesh in self._meshes.values() if mesh.due is not None]
        seconds = min([*due, latest]) - self._clock()
        self._marked.clear()
        try:
            async with asyncio.timeout(max(0.0, min(seconds, self._pace.turn))):
                await self._marked.wait()
        except TimeoutError:
            return

    async def _reconcile(self, name: str, mesh: _Mesh) -> None:
        try:
            plan = plan_mesh(
                name,
                self.store.state,
                self._deployment,
                self._now(),
                self._entropy,
                refresh=not mesh.refreshed,
                trouble=mesh.trouble,
            )
            trouble, changed = await self._do_all(plan.actions)
            status_trouble = await self._write_status(name, mesh, plan)
            trouble = trouble or status_trouble
        except Unreachable as error:
            self._retry(name, mesh, str(error))
            return
        except Exception:
            log.exception("mesh %s: looking at it failed", name)
            self._retry(name, mesh, "")
            return
        mesh.refreshed = True
        if trouble is not None:
            if trouble != mesh.trouble:
                mesh.trouble = trouble
                self.mark([name])
            self._retry(name, mesh, trouble)
            return
        mesh.failures, mesh.trouble = 0, ""
        if changed:
            self.mark([name])
        if plan.again_at is not None:
            self.mark([name], max(0.0, (plan.again_at - self._now()).total_seconds()))

    def _retry(self, name: str, mesh: _Mesh, why: str) -> None:
        delay = self._retry_after(mesh.failures)
        mesh.failures += 1
        self._progress.failures += 1
        if why:
            log.warning("mesh %s: tried again in %g s: %s", name or "(none)", delay, why)
        self.mark([name], delay)

    def _retry_after(self, failures: int) -> float:
        return float(min(self._pace.last_retry, self._pace.first_retry * 2 ** min(failures, 16)))

    async def _do_all(self, actions: list[Action]) -> tuple[str | None, bool]:
        """Do them in order, those of one sort at once. What went wrong (if anything), whether anything changed.

        Raises Unreachable.
        """
        trouble: str | None = None
        changed = False
        for _, group in itertools.groupby(actions, key=lambda action: (type(action), action.kind)):
            every = list(group)
            for start in range(0, len(every), _BATCH):
                for action, outcome in await self._do_batch(every[start : start + _BATCH]):
                    if isinstance(outcome, ApiError) and not outcome.is_conflict:
                        trouble = f"{_described(action)} was refused: {outcome.message or outcome.reason}"
                    elif isinstance(outcome, BaseException):
                        # somebody was quicker: what they did comes by the watch, or by the next look
                        changed = True
                    else:
                        changed |= outcome
        return trouble, changed

    async def _do_batch(self, actions: list[Action]) -> list[tuple[Action, bool | ApiError]]:
        outcomes = await asyncio.gather(*map(self._do, actions), return_exceptions=True)
        results: list[tuple[Action, bool | ApiError]] = []
        for action, outcome in zip(actions, outcomes, strict=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, ApiError):
                raise outcome
            results.append((action, outcome))
        return results

    async def _do(self, action: Action) -> bool:
        """Do it, and take over what it made of the object; whether that is a change."""
        body = await asyncio.get_running_loop().run_in_executor(self._threads, self._cluster.do, action)
        self._progress.beat()
        if isinstance(action, Emit):
            return False
        log.info("%s", _described(action))
        watched = WATCHED_KINDS.get(action.kind)
        if watched is None:
            return False
        if body is None:
            self.store.remove(watched, action.name)
            return True
        return self.store.put(watched, body)

    async def _write_status(self, name: str, mesh: _Mesh, plan: Plan) -> str | None:
        current = self.store.state.meshes.get(name)
        if plan.status is None or current is None:
            return None
        now = self._now()
        at = write_at(current.status, plan.status, mesh.status_written, now)
        if at is None:
            return None
        if at > now:
            self.mark([name], (at - now).total_seconds())
            return None
        action = Apply(Kind.MESH, _status_manifest(name, plan.status), "status")
        trouble, _ = await self._do_all([action, *plan.events])
        if trouble is None:
            mesh.status_written = now
        return trouble

    async def _resync(self) -> None:
        for watched in Watched:
            await self._take_list(watched)
        cidrs = await self._in_thread(self._cluster.service_cidrs)
        self.store.set_service_cidrs(tuple(ip_network(text) for text in cidrs))
        for mesh in self._meshes.values():
            mesh.refreshed = False
        self.mark(self.store.mesh_names)

    async def _take_list(self, watched: Watched) -> None:
        items, version = await self._in_thread(lambda: self._cluster.list_all(watched))
        missed = self.store.take_list(watched, items, version)
        self._progress.beat()
        if missed:
            log.debug("%d %s were new by listing", missed, watched)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _attempt(self, work: Coroutine[None, None, None], what: str) -> bool:
        try:
            await work
        except (ApiError, Unreachable) as error:
            log.warning("%s failed: %s", what, error)
            return False
        return True


def _status_manifest(name: str, status: Json) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": Kind.MESH.value,
        "metadata": {"name": name},
        "status": status,
    }


def _described(action: Action) -> str:
    verb = type(action).__name__.lower()
    subresource = getattr(action, "subresource", "")
    return f"{verb} {action.kind.value} {action.name}" + (f" {subresource}" if subresource else "")
