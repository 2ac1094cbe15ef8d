"""Controller: the loop that reconciles meshes.

Events only queue a mesh; some time later one pass evaluates all of it, plans, and executes the plan. Failures are
retried with backoff.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime

from wgmesh_api.roster import API_VERSION
from wgmesh_api.values import parse_network
from wgmesh_operator.api_client import ApiError, ApiUnreachable, ClusterApi
from wgmesh_operator.api_resources import WatchedResource
from wgmesh_operator.backoff import Backoff
from wgmesh_operator.clock import Clock
from wgmesh_operator.cluster_cache import ClusterCache
from wgmesh_operator.decisions.actions import Apply, Json, Kind
from wgmesh_operator.decisions.agent_defaults import AgentDefaults
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.faults import Border, Fault, explained
from wgmesh_operator.decisions.plan import Plan, plan_mesh
from wgmesh_operator.decisions.status.conditions import failed_pass
from wgmesh_operator.decisions.status.status_debounce import next_write_at
from wgmesh_operator.executor import Executor, Outcome, describe_action
from wgmesh_operator.liveness import LivenessCheck
from wgmesh_operator.rejections import Rejections

log = logging.getLogger(__name__)
MAX_ACTIONS_PER_PASS = 500
"""Maximum number of actions per pass; the rest follows in the next pass, at once: other meshes get their turn, and
statuses show the progress.
"""
MAX_REPEATED_PASSES = 5
"""Maximum number of successive passes that repeat the same actions."""


@dataclass(frozen=True, slots=True)
class ReconcilePace:
    """Seconds. `debounce`: from the first mark to the pass; `max_cpu_share`: of a processor, for passes."""

    debounce: float = 0.2
    max_cpu_share: float = 0.2
    min_backoff: float = 0.5
    max_backoff: float = 60.0
    max_idle: float = 5.0
    sweep: float = 30.0
    resync: float = 300.0


class _MeshQueueEntry:
    """State of a mesh from one pass to the next; all of it may be lost."""

    def __init__(self) -> None:
        self.due: float | None = None
        self.failures = 0
        self.last_error = ""
        self.done: frozenset[str] = frozenset()
        self.repeated_passes = 0
        self.rest_until = 0.0
        self.status_written: datetime | None = None
        self.failed = ""
        self.refreshed = False


class Controller:
    """Reconciles each queued mesh: one pass at a time, all in one loop."""

    def __init__(
        self,
        cluster: ClusterApi,
        deployment: AgentDefaults,
        entropy: Entropy,
        progress: LivenessCheck,
        clock: Clock,
        pace: ReconcilePace | None = None,
    ) -> None:
        self._cluster = cluster
        self._deployment = deployment
        self._entropy = entropy
        self._progress = progress
        self._clock = clock
        self._pace = pace or ReconcilePace()
        self._backoff = Backoff(self._pace.min_backoff, self._pace.max_backoff)
        self._meshes: dict[str, _MeshQueueEntry] = {}
        self._marked = asyncio.Event()
        self._failed_turns = 0
        self._next_sweep = self._next_resync = math.inf
        self.rejections = Rejections(clock)
        self.cache = ClusterCache(deployment.namespace, self.enqueue, self.rejections)
        self._executor = Executor(cluster, self.cache, progress, self.rejections)

    def enqueue(self, names: Iterable[str], delay: float | None = None) -> None:
        """Queues these meshes to be reconciled soon."""
        due = self._clock.monotonic() + (self._pace.debounce if delay is None else delay)
        for name in names:
            mesh = self._meshes.setdefault(name, _MeshQueueEntry())
            mesh.due = due if mesh.due is None else min(mesh.due, due)
        self._marked.set()

    async def run(self) -> None:
        """Runs until cancelled. Starts with a complete list: decisions on a partial one would be wrong."""
        try:
            await self._first_lists()
            self._next_sweep = self._clock.monotonic() + self._pace.sweep
            self._next_resync = self._clock.monotonic() + self._pace.resync
            while True:
                await self._turn()
        finally:
            self._executor.close()

    async def _turn(self) -> None:
        """One turn of the loop. No exception in it ends the loop, which serves all meshes."""
        failures = self._failed_turns
        self._failed_turns += 1
        with self.rejections.fence(Border.LOOP, "the controller's loop"):
            self._progress.heartbeat()
            if self._clock.monotonic() >= self._next_resync:
                self._next_resync = self._clock.monotonic() + self._pace.resync
                await self._log_failure_of(self._resync(), "comparing with full lists")
            elif self._clock.monotonic() >= self._next_sweep:
                self._next_sweep = self._clock.monotonic() + self._pace.sweep
                await self._log_failure_of(self._take_list(WatchedResource.REQUESTS), "sweeping requests")
            await self._pass()
            await self._wait(min(self._next_sweep, self._next_resync))
            self._failed_turns = 0
            return
        # a turn that failed at once must not make the loop spin
        await asyncio.sleep(self._backoff.after(failures))

    async def _first_lists(self) -> None:
        for attempt in itertools.count():
            self._progress.heartbeat()
            if await self._log_failure_of(self._resync(), "reading the cluster"):
                return
            await asyncio.sleep(self._backoff.after(attempt))

    async def _pass(self) -> None:
        for name, mesh in list(self._meshes.items()):
            if mesh.due is None or max(mesh.due, mesh.rest_until) > self._clock.monotonic():
                continue
            mesh.due = None
            await self._reconcile(name, mesh)
            self._progress.passes += 1
            self._progress.heartbeat()
            if mesh.due is None and name not in self.cache.mesh_names:
                del self._meshes[name]

    async def _wait(self, latest: float) -> None:
        due = [max(mesh.due, mesh.rest_until) for mesh in self._meshes.values() if mesh.due is not None]
        seconds = min([*due, latest]) - self._clock.monotonic()
        self._marked.clear()
        try:
            async with asyncio.timeout(max(0.0, min(seconds, self._pace.max_idle))):
                await self._marked.wait()
        except TimeoutError:
            return

    async def _reconcile(self, name: str, mesh: _MeshQueueEntry) -> None:
        try:
            plan = self._plan(name, mesh)
            outcome = await self._executor.execute_all(plan.actions[:MAX_ACTIONS_PER_PASS])
            told = await self._write_status(name, mesh, plan)
        except ApiUnreachable as error:
            self._retry(name, mesh, str(error))
            return
        except Exception as error:
            self.rejections.count(Fault(Border.PASS, f"mesh {name}", error))
            await self._report_failure(name, mesh, error)
            self._retry(name, mesh, "")
            return
        mesh.failed = ""
        mesh.refreshed = True
        last_error = outcome.error or told.error
        if last_error or outcome.conflict or told.conflict:
            if last_error != mesh.last_error:
                self.enqueue([name])
            mesh.last_error = last_error
            self._retry(name, mesh, last_error)
            return
        mesh.failures, mesh.last_error = 0, ""
        self._schedule_next(name, mesh, plan, changed=outcome.changed)

    def _plan(self, name: str, mesh: _MeshQueueEntry) -> Plan:
        began = self._clock.thread_time()
        plan = plan_mesh(
            name,
            self.cache.state,
            self._deployment,
            self._clock.now(),
            self._entropy,
            refresh=not mesh.refreshed,
            last_error=mesh.last_error,
        )
        for fault in plan.faults:
            self.rejections.count(fault)
        # a large mesh that changes all the time must leave time for others, and for the watches
        took = self._clock.thread_time() - began
        mesh.rest_until = self._clock.monotonic() + took * (1 / self._pace.max_cpu_share - 1)
        return plan

    def _schedule_next(self, name: str, mesh: _MeshQueueEntry, plan: Plan, *, changed: bool) -> None:
        """When to reconcile again after a pass without errors."""
        done = frozenset(map(describe_action, plan.actions))
        mesh.repeated_passes = mesh.repeated_passes + 1 if changed and done == mesh.done else 0
        mesh.done = done
        if changed:
            self.enqueue([name])
        if mesh.repeated_passes > MAX_REPEATED_PASSES:
            # another client reverts the operator's changes each time: the operator must not repeat them at full speed
            mesh.rest_until = self._clock.monotonic() + self._backoff.after(
                mesh.repeated_passes - MAX_REPEATED_PASSES
            )
        if plan.requeue_at is not None:
            self.enqueue([name], max(0.0, (plan.requeue_at - self._clock.now()).total_seconds()))

    def _retry(self, name: str, mesh: _MeshQueueEntry, why: str) -> None:
        delay = self._backoff.after(mesh.failures)
        mesh.failures += 1
        self._progress.failures += 1
        if why:
            log.warning("mesh %s: retrying in %g s: %s", name or "(none)", delay, why)
        self.enqueue([name], delay)

    async def _write_status(self, name: str, mesh: _MeshQueueEntry, plan: Plan) -> Outcome:
        current = self.cache.state.meshes.get(name)
        now = self._clock.now()
        if plan.status is None or current is None:
            return Outcome()
        at = next_write_at(current.status, plan.status, mesh.status_written, now)
        if at is None:
            return Outcome()
        if at > now:
            self.enqueue([name], (at - now).total_seconds())
            return Outcome()
        action = Apply(Kind.MESH, _status_manifest(name, plan.status), "status")
        outcome = await self._executor.execute_all([action, *plan.events])
        if not outcome.error and not outcome.conflict:
            mesh.status_written = now
        return outcome

    async def _report_failure(self, name: str, mesh: _MeshQueueEntry, error: Exception) -> None:
        """Reports on the mesh that a pass ended with `error`; once for each sentence."""
        current = self.cache.state.meshes.get(name)
        said = explained(error)
        if current is None or mesh.failed == said:
            return
        mesh.failed = said
        with self.rejections.fence(Border.PASS, f"mesh {name}"):
            status, event = failed_pass(current, said, self._clock.now())
            await self._executor.execute_all(
                [Apply(Kind.MESH, _status_manifest(name, status), "status"), event]
            )

    async def _resync(self) -> None:
        for watched in WatchedResource:
            await self._take_list(watched)
        networks = []
        for text in await self._executor.in_thread(self._cluster.service_cidrs):
            with self.rejections.fence(Border.SERVICE_CIDR, "ServiceCIDR"):
                networks.append(parse_network(text))
        self.cache.set_service_cidrs(tuple(networks))
        for mesh in self._meshes.values():
            mesh.refreshed = False
        self.enqueue(self.cache.mesh_names)

    async def _take_list(self, watched: WatchedResource) -> None:
        items, version = await self._executor.in_thread(lambda: self._cluster.list_all(watched))
        missed = self.cache.replace_from_list(watched, items, version)
        self._progress.heartbeat()
        if missed:
            log.debug("list found %d %s that the watch missed", missed, watched)

    async def _log_failure_of(self, work: Coroutine[None, None, None], what: str) -> bool:
        try:
            await work
        except (ApiError, ApiUnreachable) as error:
            log.warning("%s failed: %s", what, error)
            return False
        except Exception as error:
            self.rejections.count(Fault(Border.LIST, what, error))
            return False
        return True


def _status_manifest(name: str, status: Json) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": Kind.MESH.value,
        "metadata": {"name": name},
        "status": status,
    }
