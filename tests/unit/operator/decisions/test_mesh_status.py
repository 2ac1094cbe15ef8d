"""The status that is assembled from the findings of a pass."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.operator.harness import MemoryApi, cluster_of, mesh_body, node_body, settle, valid

from wgmesh_operator.decisions.membership.spec_conflicts import SpecConflict
from wgmesh_operator.decisions.mesh_status import MeshFindings, bootstrap_statuses, plan_status
from wgmesh_operator.decisions.status.conditions import STARTUP_GRACE

CONFLICT = SpecConflict("InvalidSpec", "the spec cannot be read", blocking=True)


@pytest.fixture
def api() -> MemoryApi:
    api = cluster_of()
    settle(api)
    return api


def test_invalid_mesh_has_a_status_without_bootstraps(api: MemoryApi) -> None:
    api.put(mesh_body("odd", cidrs=[]))
    state = api.state()
    told = plan_status(state.meshes["odd"], state, MeshFindings([CONFLICT], blocked=True), api.now)
    assert (told.status["nodes"], told.status["bootstraps"]) == ("0/0", [])
    reasons = {one["type"]: one["reason"] for one in told.status["conditions"]}
    assert reasons["Ready"] == reasons["Degraded"] == "InvalidSpec"


def test_status_of_a_starting_mesh_is_due_at_the_end_of_its_grace(api: MemoryApi) -> None:
    state = api.state()
    mesh = valid(state.meshes["blue"])
    findings = MeshFindings([], selected={"n0", "n1", "n2"})
    end = mesh.metadata.created + STARTUP_GRACE
    assert plan_status(mesh, state, findings, end - timedelta(seconds=1)).requeue_at == end
    assert plan_status(mesh, state, findings, end).requeue_at is None


def test_bootstraps_that_serve_come_first(api: MemoryApi) -> None:
    api.report_ready("blue.n0", 2, bootstrap={"serving": False, "message": "the port is taken"})
    api.report_ready("blue.n2", 2)
    state = api.state()
    found = bootstrap_statuses(valid(state.meshes["blue"]), state, {"n0", "n1", "n2"})
    assert [item["node"] for item in found] == ["n2", "n0", "n1"]


def test_bootstrap_has_its_outer_address_and_brackets_around_ipv6(api: MemoryApi) -> None:
    api.put(node_body("n0", "fd00::1", external="192.0.2.77"))
    state = api.state()
    (item,) = bootstrap_statuses(valid(state.meshes["blue"]), state, {"n0"})
    port = valid(state.meshes["blue"]).spec.bootstrap.port
    assert item == {
        "node": "n0",
        "address": f"[fd00::1]:{port}",
        "outerAddress": f"192.0.2.77:{port}",
    }


def test_bootstrap_without_an_address_is_left_out(api: MemoryApi) -> None:
    api.put(node_body("n0", ""))
    state = api.state()
    assert bootstrap_statuses(valid(state.meshes["blue"]), state, {"n0", "gone"}) == []
