"""The controller over a cluster in memory: real threads and loop, no waiting but for what must happen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.operator.harness import (
    DEPLOYMENT,
    ApiClock,
    FakeClock,
    MemoryApi,
    cluster_of,
    condition,
    csr_body,
    csr_pem,
    entropy,
    mesh_body,
    node_body,
)

from wgmesh_operator.api_client import ApiError, ApiUnreachable
from wgmesh_operator.api_resources import WATCHED_KINDS, WatchedResource
from wgmesh_operator.controller import Controller, ReconcilePace, _MeshQueueEntry
from wgmesh_operator.decisions.actions import Action, Apply, Kind
from wgmesh_operator.liveness import LivenessCheck

FAST = ReconcilePace(
    debounce=0.001, min_backoff=0.01, max_backoff=0.05, max_idle=0.05, sweep=1000, resync=1000
)
DEADLINE = 20.0


def controller_of(api: MemoryApi, pace: ReconcilePace = FAST) -> Controller:
    clock = ApiClock(api)
    return Controller(
        api,
        DEPLOYMENT,
        entropy(),
        LivenessCheck(clock),
        clock,
        pace,
    )


@asynccontextmanager
async def working(api: MemoryApi, pace: ReconcilePace = FAST) -> AsyncIterator[Controller]:
    controller = controller_of(api, pace)
    task = asyncio.create_task(controller.run())
    try:
        yield controller
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.005)


def tell(api: MemoryApi, controller: Controller) -> None:
    """As watches do: everything, whether new or not."""
    for watched in WatchedResource:
        kinds = {w: k.value for k, w in WATCHED_KINDS.items()}
        for body in api.of_kind(kinds.get(watched, "Node")):
            controller.cache.put(watched, body)


def nodes_of(api: MemoryApi) -> str:
    body = api.get("WgMesh", "blue")
    assert body is not None
    return str((body.get("status") or {}).get("nodes"))


async def settled(api: MemoryApi) -> None:
    await until(lambda: api.get("DaemonSet", "wgmesh-blue-tunnel"), "all is there")
    await until(lambda: nodes_of(api) == "0/3", "the status")


async def another_pass(controller: Controller, passes: int) -> None:
    await until(lambda: controller._progress.passes > passes, "another pass")


async def quiet(api: MemoryApi, controller: Controller) -> None:
    """Wait until the controller has looked again and found nothing to do."""
    while True:
        before = len(api.done)
        for _ in range(2):
            passes = controller._progress.passes
            controller.enqueue(["blue"])
            await another_pass(controller, passes)
        if len(api.done) == before:
            return


async def test_it_begins_with_what_is_there_and_brings_it_to_where_it_should_be() -> None:
    api = cluster_of()
    async with working(api):
        await settled(api)
    assert len(api.of_kind("WgMeshNode")) == 3


async def test_events_lead_to_a_pass() -> None:
    api = cluster_of()
    async with working(api) as controller:
        await settled(api)
        for number in range(3):
            api.report_ready(f"blue.n{number}", 2)
        tell(api, controller)
        await until(lambda: condition(api, "FullyMeshed")["status"] == "True", "fully meshed")
        await until(lambda: "FullyMeshed" in [event.reason for event in api.events], "the event")


async def test_nothing_is_written_when_nothing_changes() -> None:
    api = cluster_of()
    async with working(api) as controller:
        await settled(api)
        tell(api, controller)
        await quiet(api, controller)


async def test_a_restarted_operator_writes_nothing_but_what_it_does_not_watch() -> None:
    api = cluster_of()
    async with working(api) as controller:
        await settled(api)
        tell(api, controller)
        await quiet(api, controller)
    api.done.clear()
    async with working(api) as controller:
        await until(lambda: controller._progress.passes > 0, "a pass")
        await quiet(api, controller)
    assert {action.kind for action in api.done} == {Kind.SERVICE_ACCOUNT, Kind.BINDING}


async def test_nothing_is_decided_before_everything_is_read() -> None:
    api = cluster_of()

    class Half(MemoryApi):
        unreachable = True

        def list_all(self, watched: WatchedResource) -> Any:
            if self.unreachable and watched is WatchedResource.MEMBERS:
                raise ApiUnreachable("not yet")
            return super().list_all(watched)

    half = Half()
    half.objects, half._version = api.objects, api._version
    async with working(half) as controller:
        await until(lambda: controller.cache.state.meshes, "the mesh is known")
        assert half.done == []
        half.unreachable = False
        await settled(half)


async def test_an_api_server_that_is_away_is_tried_until_it_is_back() -> None:
    api = cluster_of()
    api.failures[Kind.MEMBER.value] = ApiUnreachable("connection refused")
    async with working(api) as controller:
        await until(lambda: controller._progress.failures >= 3, "tried again and again")
        assert api.of_kind("WgMeshNode") == []
        api.failures.clear()
        await settled(api)
        assert controller._progress.check()["failures"] >= 3


async def test_what_is_refused_is_told_on_the_mesh_and_the_rest_is_done() -> None:
    api = cluster_of()
    api.failures[Kind.DAEMON_SET.value] = ApiError(422, "Invalid", "nodeSelector: bad label")
    async with working(api):
        await until(lambda: nodes_of(api) == "0/3", "the status")
        await until(lambda: condition(api, "Degraded")["reason"] == "ApplyFailed", "the refusal is told")
        assert "nodeSelector: bad label" in condition(api, "Degraded")["message"]
        assert len(api.of_kind("WgMeshNode")) == 3
        api.failures.clear()
        await until(lambda: condition(api, "Degraded")["reason"] != "ApplyFailed", "it is well again")


async def test_conflicts_are_no_trouble() -> None:
    api = cluster_of()

    class Racy(MemoryApi):
        races = 5

        def execute(self, action: Action) -> Any:
            if self.races and isinstance(action, Apply):
                self.races -= 1
                raise ApiError(409, "Conflict", "the object has been modified")
            return super().execute(action)

    racy = Racy()
    racy.objects, racy._version = api.objects, api._version
    async with working(racy):
        await settled(racy)
        assert racy.races == 0
        assert condition(racy, "Degraded")["reason"] != "ApplyFailed"


async def test_a_broken_mesh_does_not_hold_up_another() -> None:
    api = cluster_of()
    api.put(mesh_body("aaa", cidrs=["10.240.0.0/16"], wireguard={"port": 1}, agent={"metricsPort": 2}))
    del api.objects[("WgMesh", "aaa")]["spec"]["cidrs"]
    async with working(api):
        await settled(api)


async def test_requests_the_watch_missed_are_found_by_the_sweep() -> None:
    api = cluster_of()
    async with working(
        api, ReconcilePace(debounce=0.001, max_idle=0.01, sweep=0.05, resync=1000)
    ) as controller:
        await settled(api)
        tell(api, controller)
        api.put(csr_body("r", csr_pem("n0", None), nodes=["n0"]))

        def certificate() -> Any:
            return (api.objects[("CertificateSigningRequest", "r")].get("status") or {}).get("certificate")

        await until(certificate, "the request is signed")


async def test_nodes_the_watch_missed_are_found_by_listing() -> None:
    api = cluster_of()
    async with working(api, ReconcilePace(debounce=0.001, max_idle=0.01, sweep=1000, resync=0.1)):
        await settled(api)
        api.put(node_body("n9", "192.0.2.99"))
        await until(lambda: api.get("WgMeshNode", "blue.n9"), "the new node is a member")
        api.remove("Node", "n0")
        await until(lambda: api.get("WgMeshNode", "blue.n0") is None, "the removed node is none")


async def test_counts_are_written_calmly() -> None:
    api = cluster_of()
    async with working(api) as controller:
        await settled(api)
        for number in range(3):
            api.report_ready(f"blue.n{number}", 1)
        tell(api, controller)
        await until(lambda: condition(api, "FullyMeshed")["reason"] == "LinksPending", "links are not up")
        await quiet(api, controller)
        api.done.clear()
        for heard in (0, 1, 0, 1):
            api.report_ready("blue.n0", heard)
            tell(api, controller)
            await quiet(api, controller)
        assert api.done == []


async def test_a_mesh_that_is_gone_is_forgotten() -> None:
    api = cluster_of()
    async with working(api) as controller:
        await settled(api)
        api.remove("WgMesh", "blue")
        controller.cache.put(WatchedResource.MESHES, api.objects[("WgMesh", "blue")])

        def leave() -> bool:
            for body in api.of_kind("WgMeshNode"):
                if body["metadata"].get("deletionTimestamp"):
                    api.report(body["metadata"]["name"], phase="Left")
                    controller.cache.put(WatchedResource.MEMBERS, body)
            return ("WgMesh", "blue") not in api.objects

        await until(leave, "the mesh is gone")
        await until(lambda: controller.cache.mesh_names == set(), "and forgotten")
        await until(lambda: controller._meshes == {}, "by the controller, too")
    assert {kind for kind, _ in api.objects} == {"Node"}


async def test_who_undoes_everything_at_once_is_answered_less_and_less_often() -> None:
    api = cluster_of()

    class Undoing(MemoryApi):
        def execute(self, action: Action) -> Any:
            body = super().execute(action)
            if isinstance(action, Apply) and action.name == "wgmesh-blue-tunnel":
                spec = self.objects[("DaemonSet", action.name)]["spec"]["template"]["spec"]
                spec["hostNetwork"] = False
                body = self.objects[("DaemonSet", action.name)]
                self._bump(body)
            return body

    undoing = Undoing()
    undoing.objects, undoing._version = api.objects, api._version

    def answers() -> int:
        return sum(action.name == "wgmesh-blue-tunnel" for action in undoing.done)

    async with working(
        undoing, ReconcilePace(debounce=0.001, min_backoff=60, max_backoff=60, max_idle=0.05)
    ) as controller:
        await until(
            lambda: "blue" in controller._meshes and controller._meshes["blue"].repeated_passes > 5,
            "it is noticed",
        )
        before = answers()
        passes = controller._progress.passes
        controller.enqueue(["red"])
        await another_pass(controller, passes)
        assert answers() == before


async def test_five_hundred_things_are_done_at_once_and_the_rest_next() -> None:
    api = cluster_of(600)
    async with working(api):
        await until(lambda: api.get("DaemonSet", "wgmesh-blue-tunnel"), "all is there")
    assert len(api.of_kind("WgMeshNode")) == 600
    first = next(i for i, a in enumerate(api.done) if isinstance(a, Apply) and a.subresource == "status")
    assert first <= 501


def test_after_a_pass_there_is_a_rest_four_times_as_long_as_it_kept_a_processor_busy() -> None:
    class Busy(FakeClock):
        def thread_time(self) -> float:
            self.processor_seconds += 0.1
            return self.processor_seconds

    clock = Busy()
    clock.seconds = 50.0
    controller = Controller(MemoryApi(), DEPLOYMENT, entropy(), LivenessCheck(clock), clock)
    mesh = _MeshQueueEntry()
    controller._plan("", mesh)
    assert mesh.rest_until == pytest.approx(50.4)
