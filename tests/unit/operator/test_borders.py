"""Borders of the operator: a unit that raises what no handler foresees costs that unit, and the next is handled."""

from __future__ import annotations

import asyncio
from collections import UserDict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from tests.unit.operator.harness import (
    DEPLOYMENT,
    NOW,
    ApiClock,
    MemoryApi,
    cluster_of,
    condition,
    csr_body,
    csr_pem,
    entropy,
    external_body,
    mesh_body,
    settle,
)
from tests.unit.operator.test_controller import FAST, quiet, settled, until, working

from wgmesh_operator.api_resources import WatchedResource
from wgmesh_operator.controller import Controller, ReconcilePace
from wgmesh_operator.decisions.actions import Action, Apply, Emit, Kind
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.faults import Border
from wgmesh_operator.decisions.model import ClusterState, Member
from wgmesh_operator.decisions.plan import Plan, plan_mesh
from wgmesh_operator.handlers import deliver
from wgmesh_operator.liveness import LivenessCheck

Json = dict[str, Any]


class Unforeseen(Exception):
    """Of no family that handlers catch."""


class Raising(dict[str, Any]):
    """A mapping that cannot be looked into."""

    def get(self, *_: Any) -> Any:
        raise Unforeseen("not to be looked into")


class RaisingMoment(datetime):
    """A moment that cannot be converted, as year 1 with an offset cannot."""

    def astimezone(self, *_: Any) -> RaisingMoment:
        raise Unforeseen("not to be converted")


class RaisingTuple(tuple[Any, ...]):
    def __iter__(self) -> Any:
        raise Unforeseen("not to be walked")


def counted(controller: Controller, border: Border) -> int:
    return controller.rejections.counts().get(f"{border}: {Unforeseen.__name__}", 0)


def listed(api: MemoryApi, watched: WatchedResource) -> Iterable[Json]:
    return api.list_all(watched)[0]


# in the controller


async def an_object(border: Border) -> None:
    api = cluster_of()
    settle(api)
    async with working(api) as controller:
        await settled(api)
        broken = {"metadata": {"name": "blue.n7", "uid": "u", "resourceVersion": "99999"}, "spec": Raising()}
        whole = {**broken, "metadata": {**broken["metadata"], "name": "blue.n8"}}
        whole["spec"] = {"mesh": "blue", "node": "n8"}
        controller.cache.replace_from_list(
            WatchedResource.MEMBERS, [*listed(api, WatchedResource.MEMBERS), broken, whole], "99999"
        )
        assert counted(controller, border) == 1
        assert "n8" in controller.cache.state.members["blue"]


async def a_watch_event(border: Border) -> None:
    class Broken(UserDict[str, Any]):
        def __iter__(self) -> Any:
            raise Unforeseen("a body that is none")

    async with working(MemoryApi()) as controller:
        deliver(controller, WatchedResource.MESHES, "ADDED", Broken())
        assert counted(controller, border) == 1
        later = mesh_body()
        later["metadata"] |= {"uid": "u", "resourceVersion": "1"}
        deliver(controller, WatchedResource.MESHES, "ADDED", later)
        assert "blue" in controller.cache.state.meshes


async def a_list(border: Border) -> None:
    class Failing(MemoryApi):
        left = 3

        def list_all(self, watched: WatchedResource) -> tuple[list[Json], str]:
            if self.left:
                self.left -= 1
                raise Unforeseen("an answer in another shape")
            return super().list_all(watched)

    api, whole = Failing(), cluster_of()
    api.objects, api._version = whole.objects, whole._version
    async with working(api) as controller:
        await settled(api)
        assert counted(controller, border) == 3


async def a_service_cidr(border: Border) -> None:
    api = cluster_of()
    api.cidrs = ["fd00::1%eth0/64", "10.96.0.0/16"]
    async with working(api) as controller:
        await settled(api)
        assert controller.rejections.counts() == {f"{border}: UnusableValue": 1}
        assert [str(network) for network in controller.cache.state.service_cidrs] == ["10.96.0.0/16"]


async def a_pass(border: Border) -> None:
    api = cluster_of()
    ports: dict[str, Any] = {"wireguard": {"port": 1}, "bootstrap": {"port": 2}, "agent": {"metricsPort": 3}}
    api.put(mesh_body("red", cidrs=["10.240.0.0/16"], **ports))
    async with working(api) as controller:
        await settled(api)
        broken = api.objects[("WgMesh", "blue")]
        controller.cache.put(WatchedResource.MESHES, with_version(broken, status=Raising()))
        await until(lambda: counted(controller, border) >= 2, "the mesh is tried again and again")
        api.put(csr_body("r", csr_pem("n0", "wgmesh://red/node/n0"), nodes=["n0"], account=account("red")))
        controller.cache.put(WatchedResource.REQUESTS, api.objects[("CertificateSigningRequest", "r")])
        await until(lambda: signed(api, "r"), "the other mesh is served")


async def an_action(border: Border) -> None:
    api = cluster_of()
    api.failures[Kind.DAEMON_SET.value] = Unforeseen("no such call")
    async with working(api) as controller:
        await until(lambda: counted(controller, border), "it is counted")
        await until(lambda: (api.get("WgMesh", "blue") or {}).get("status"), "there is a status")
        await until(lambda: condition(api, "Degraded")["reason"] == "ApplyFailed", "it is reported")
        assert "failed: Unforeseen: no such call" in condition(api, "Degraded")["message"]
        assert len(api.of_kind("WgMeshNode")) == 3
        api.failures.clear()
        await settled(api)


async def a_turn(border: Border) -> None:
    class Failing(LivenessCheck):
        left = 0

        def heartbeat(self) -> None:
            if self.left:
                self.left -= 1
                raise Unforeseen("no beat")
            super().heartbeat()

    api = cluster_of()
    clock = ApiClock(api)
    progress = Failing(clock)
    controller = Controller(
        api,
        DEPLOYMENT,
        entropy(),
        progress,
        clock,
        FAST,
    )
    task = asyncio.create_task(controller.run())
    await settled(api)
    await quiet(api, controller)
    progress.left = 3
    await until(lambda: not progress.left and counted(controller, border), "turns fail")
    api.remove("Node", "n0")
    controller.cache.remove(WatchedResource.NODES, "n0")
    await until(lambda: api.get("WgMeshNode", "blue.n0") is None, "the loop continues")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# in a plan


async def a_request(border: Border) -> None:
    api = asked()
    state = api.state()
    requests = dict(state.requests["blue"])
    requests["odd"] = replace(requests["odd"], usages=RaisingTuple())
    plan = planned(api, replace(state, requests={"blue": requests}))
    assert faults(plan) == [(border, "odd")]
    assert "good" in names(plan.actions, Kind.REQUEST)


async def a_member(border: Border) -> None:
    api = asked()
    api.put({**(api.get("Node", "n0") or {}), "metadata": {"name": "n7"}})
    plan = planned(api, with_member(api, "n0", labels=Raising()))
    assert faults(plan) == [(border, "blue.n0")]
    assert "blue.n7" in names(plan.actions, Kind.MEMBER)


async def an_external_status(border: Border) -> None:
    api = asked()
    api.put(external_body(node="phone"))
    state = api.state()
    laptop = state.members["blue"]["laptop"]
    report = replace(laptop.roster.report, ready_since=RaisingMoment(2030, 1, 1))
    plan = planned(api, with_member(api, "laptop", roster=replace(laptop.roster, report=report)))
    assert faults(plan) == [(border, "blue.laptop")]
    statuses = [a for a in plan.actions if isinstance(a, Apply) and a.subresource == "status"]
    assert "blue.phone" in names(statuses, Kind.MEMBER)


async def a_bundle(border: Border) -> None:
    def no_key() -> Any:
        raise Unforeseen("no key today")

    api = asked()
    api.put(external_body(node="phone"))
    settle(api)
    (secret,) = [body for body in api.of_kind("Secret") if body["metadata"]["name"].endswith("phone-join")]
    api.remove("Secret", secret["metadata"]["name"])
    source = entropy()
    plan = planned(api, api.state(), Entropy(no_key, source.serial, source.random_bytes))
    assert faults(plan) == [(border, "blue.phone")]
    assert plan.status is not None


SCENARIOS = {
    Border.OBJECT: an_object,
    Border.WATCH: a_watch_event,
    Border.LIST: a_list,
    Border.SERVICE_CIDR: a_service_cidr,
    Border.REQUEST: a_request,
    Border.MEMBER: a_member,
    Border.EXTERNAL_STATUS: an_external_status,
    Border.BUNDLE: a_bundle,
    Border.PASS: a_pass,
    Border.ACTION: an_action,
    Border.LOOP: a_turn,
}


def test_every_border_has_a_scenario() -> None:
    assert set(SCENARIOS) == set(Border)


@pytest.mark.parametrize("border", Border, ids=lambda border: border.name.lower())
async def test_a_unit_that_raises_costs_that_unit_alone(border: Border) -> None:
    await SCENARIOS[border](border)


async def test_a_pass_that_fails_is_reported_on_its_mesh_and_recovers() -> None:
    api = cluster_of()

    broken = True

    def serial() -> int:
        if broken:
            raise Unforeseen("no serial today")
        return 5

    source, clock = entropy(), ApiClock(api)
    controller = Controller(
        api,
        DEPLOYMENT,
        Entropy(source.key, serial, source.random_bytes),
        LivenessCheck(clock),
        clock,
        ReconcilePace(
            debounce=0.001, min_backoff=0.01, max_backoff=0.05, max_idle=0.05, sweep=1000, resync=1000
        ),
    )
    task = asyncio.create_task(controller.run())
    # the finalizer comes first, so the mesh has no status before its first whole pass
    await until(
        lambda: api.events and controller.rejections.counts()[f"{Border.PASS}: Unforeseen"] > 3, "it is told"
    )
    assert condition(api, "Degraded")["reason"] == "PassFailed"
    assert "Unforeseen: no serial today" in condition(api, "Degraded")["message"]
    assert [event.reason for event in api.events] == ["PassFailed"]
    broken = False
    await settled(api)
    assert condition(api, "Degraded")["reason"] != "PassFailed"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def asked() -> MemoryApi:
    """A settled mesh with an external member and two open requests."""
    api = cluster_of()
    api.put(external_body())
    settle(api)
    for name in ("odd", "good"):
        api.put(csr_body(name, csr_pem("n0", None), nodes=["n0"]))
    return api


def planned(api: MemoryApi, state: ClusterState, source: Entropy | None = None) -> Plan:
    return plan_mesh("blue", state, DEPLOYMENT, NOW, source or entropy(3))


def faults(plan: Plan) -> list[tuple[Border, str]]:
    assert all(isinstance(fault.error, Unforeseen) for fault in plan.faults)
    return [(fault.border, fault.subject) for fault in plan.faults]


def names(actions: Iterable[Action], kind: Kind) -> set[str]:
    return {action.name for action in actions if action.kind is kind and not isinstance(action, Emit)}


def with_member(api: MemoryApi, node: str, **changes: Any) -> ClusterState:
    state = api.state()
    members: dict[str, Member] = dict(state.members["blue"])
    members[node] = replace(members[node], **changes)
    return replace(state, members={"blue": members})


def with_version(body: Json, **changes: Any) -> Json:
    metadata = {**body["metadata"], "resourceVersion": str(int(body["metadata"]["resourceVersion"]) + 1000)}
    return {**body, "metadata": metadata, **changes}


def account(mesh: str) -> str:
    return f"system:serviceaccount:{DEPLOYMENT.namespace}:wgmesh-{mesh}"


def signed(api: MemoryApi, request: str) -> Any:
    return (api.objects[("CertificateSigningRequest", request)].get("status") or {}).get("certificate")
