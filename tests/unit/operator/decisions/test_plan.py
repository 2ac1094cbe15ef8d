"""Whole meshes: what the plans come to, wherever they are interrupted."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.operator.harness import (
    DEPLOYMENT,
    NOW,
    MemoryApi,
    cluster_of,
    condition,
    entropy,
    external_body,
    mesh_body,
    node_body,
    settle,
    status_of,
)

from wgmesh_operator.decisions.membership.bootstraps import REPLACE_AFTER
from wgmesh_operator.decisions.membership.member_release import LEAVE_DEADLINE
from wgmesh_operator.decisions.mesh_teardown import POD_TERMINATION_DEADLINE
from wgmesh_operator.decisions.plan import plan_mesh


def members(api: MemoryApi, mesh: str = "blue") -> dict[str, dict[str, Any]]:
    return {b["spec"]["node"]: b for b in api.of_kind("WgMeshNode") if b["spec"]["mesh"] == mesh}


def bootstraps(api: MemoryApi) -> set[str]:
    return {name for name, body in members(api).items() if body["spec"]["bootstrap"]}


def status(api: MemoryApi) -> dict[str, Any]:
    body = api.get("WgMesh", "blue")
    assert body is not None
    found: dict[str, Any] = body["status"]
    return found


def all_ready(api: MemoryApi) -> None:
    found = members(api)
    for body in found.values():
        api.report_ready(body["metadata"]["name"], len(found) - 1)
    settle(api)


def set_ready(api: MemoryApi, name: str, *, ready: bool) -> None:
    body = api.get("Node", name)
    assert body is not None
    api.put(node_body(name, body["status"]["addresses"][0]["address"], ready=ready, changed=api.now))


def names(api: MemoryApi) -> set[tuple[str, str]]:
    return {key for key in api.objects if key[0] != "Node"}


def test_a_new_mesh_is_all_there_after_a_few_looks() -> None:
    api = cluster_of()
    assert settle(api) <= 5
    assert names(api) == {
        ("WgMesh", "blue"),
        ("WgMeshNode", "blue.n0"),
        ("WgMeshNode", "blue.n1"),
        ("WgMeshNode", "blue.n2"),
        ("Secret", "wgmesh-blue-ca"),
        ("Secret", "wgmesh-blue-gossip"),
        ("ServiceAccount", "wgmesh-blue"),
        ("ClusterRoleBinding", "wgmesh-blue-agents"),
        ("DaemonSet", "wgmesh-blue"),
        ("DaemonSet", "wgmesh-blue-tunnel"),
    }
    assert len(bootstraps(api)) == 2
    assert status(api)["nodes"] == "0/3"


def test_a_settled_mesh_has_nothing_to_do() -> None:
    api = cluster_of()
    settle(api)
    plan = plan_mesh("blue", api.state(), DEPLOYMENT, NOW, entropy())
    assert plan.actions == []
    assert plan.status == status(api)


def crashing_run(seed: int) -> MemoryApi:
    """A mesh's life in which the operator is killed after any action, again and again."""
    chance = random.Random(seed)
    api = cluster_of(4)
    api.put(external_body())

    def some_of_it() -> None:
        for _ in range(chance.randrange(1, 6)):
            plan = plan_mesh("blue", api.state(), DEPLOYMENT, api.now, entropy(chance.randrange(10**6)))
            for action in plan.actions[: chance.randrange(0, 4)]:
                api.execute(action)
            if plan.status is not None and chance.random() < 0.3 and api.get("WgMesh", "blue"):
                api.execute(status_of("blue", plan.status))

    some_of_it()
    api.remove("Node", "n3")
    some_of_it()
    api.put(node_body("n4", "192.0.2.99"))
    some_of_it()
    api.put(
        mesh_body("blue", bootstrap={"replicas": 3})
        | {"metadata": api.objects[("WgMesh", "blue")]["metadata"]}
    )
    some_of_it()
    settle(api)
    return api


@pytest.mark.parametrize("seed", range(25))
def test_killed_after_any_action_the_end_is_the_same(seed: int) -> None:
    print(f"seed {seed}")
    api = crashing_run(seed)
    assert set(members(api)) == {"n0", "n1", "n2", "n4", "laptop"}
    addresses = [body["spec"]["addresses"][0] for body in members(api).values()]
    assert len(set(addresses)) == 5
    assert len(bootstraps(api)) == 3
    assert len([key for key in names(api) if key[0] == "Secret"]) == 3
    all_ready(api)
    for number in range(3):
        known = [{"node": "laptop", "publicKey": "k", "reachable": True}]
        api.report_ready(f"blue.n{number}", 4, externals=known)
    api.report_ready("blue.n4", 4)
    settle(api)
    assert status(api)["links"] == "20/20"


@pytest.mark.parametrize("seed", range(25))
def test_killed_while_a_mesh_is_removed_nothing_is_left(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    api = crashing_run(seed)
    api.remove("WgMesh", "blue")
    for _ in range(200):
        plan = plan_mesh("blue", api.state(), DEPLOYMENT, api.now, entropy())
        for action in plan.actions[: chance.randrange(0, 4)]:
            api.execute(action)
        for body in members(api).values():
            if body["metadata"].get("deletionTimestamp") and chance.random() < 0.5:
                api.report(body["metadata"]["name"], phase="Left")
        if not names(api):
            break
    assert names(api) == set()


def test_a_deleted_mesh_waits_for_its_agents_and_not_for_ever() -> None:
    api = cluster_of()
    settle(api)
    all_ready(api)
    api.remove("WgMesh", "blue")
    settle(api)
    assert set(members(api)) == {"n0", "n1", "n2"}
    assert api.get("DaemonSet", "wgmesh-blue") is not None
    assert condition(api, "Ready")["reason"] == "MembersLeaving"
    assert "waiting for n0, n1, n2" in condition(api, "Ready")["message"]
    api.report("blue.n0", phase="Left")
    settle(api)
    assert set(members(api)) == {"n1", "n2"}
    api.now += LEAVE_DEADLINE
    settle(api)
    assert names(api) == set()


def test_pods_that_do_not_end_hold_a_mesh_for_a_bounded_time() -> None:
    api = cluster_of()
    settle(api)
    for name in ("wgmesh-blue", "wgmesh-blue-tunnel"):
        body = api.get("DaemonSet", name)
        assert body is not None
        body["metadata"]["finalizers"] = ["foregroundDeletion"]
    api.remove("WgMesh", "blue")
    settle(api)
    api.now += LEAVE_DEADLINE
    settle(api)
    assert api.get("WgMesh", "blue") is not None
    assert condition(api, "Ready")["reason"] == "PodsTerminating"
    api.now += POD_TERMINATION_DEADLINE
    settle(api)
    assert api.get("WgMesh", "blue") is None


def test_a_mesh_removed_by_force_leaves_no_member_behind() -> None:
    api = cluster_of()
    settle(api)
    body = api.get("WgMesh", "blue")
    assert body is not None
    body["metadata"]["finalizers"] = []
    api.remove("WgMesh", "blue")
    settle(api)
    assert names(api) == set()


def test_a_deleted_node_is_let_go_at_once() -> None:
    api = cluster_of()
    settle(api)
    api.remove("Node", "n1")
    settle(api)
    assert set(members(api)) == {"n0", "n2"}


def test_a_members_object_deleted_by_a_person_is_made_anew_once_the_agent_left() -> None:
    api = cluster_of()
    settle(api)
    before = members(api)["n1"]
    api.remove("WgMeshNode", "blue.n1")
    settle(api)
    assert members(api)["n1"]["metadata"].get("deletionTimestamp")
    api.report("blue.n1", phase="Left")
    settle(api)
    after = members(api)["n1"]
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["spec"]["addresses"] == before["spec"]["addresses"]


def test_a_narrower_selector_waits_for_those_who_leave() -> None:
    api = cluster_of()
    for number in range(2):
        body = api.get("Node", f"n{number}")
        assert body is not None
        body["metadata"]["labels"] = {"m": "1"}
    settle(api)
    mesh = api.get("WgMesh", "blue")
    assert mesh is not None
    mesh["spec"]["nodeSelector"] = {"m": "1"}
    settle(api)

    def pod_spec() -> dict[str, Any]:
        daemon_set = api.get("DaemonSet", "wgmesh-blue")
        assert daemon_set is not None
        found: dict[str, Any] = daemon_set["spec"]["template"]["spec"]
        return found

    assert members(api)["n2"]["metadata"].get("deletionTimestamp")
    assert "nodeSelector" not in pod_spec()
    api.now += LEAVE_DEADLINE
    settle(api)
    assert set(members(api)) == {"n0", "n1"}
    assert pod_spec()["nodeSelector"] == {"m": "1"}


def test_bootstrap_duty_moves_when_its_node_is_gone_for_good_and_not_before() -> None:
    api = cluster_of(4)
    settle(api)
    all_ready(api)
    lost = min(bootstraps(api))
    set_ready(api, lost, ready=False)
    plan = plan_mesh("blue", api.state(), DEPLOYMENT, api.now, entropy())
    assert plan.requeue_at == api.now + REPLACE_AFTER
    settle(api)
    assert lost in bootstraps(api)
    api.now += REPLACE_AFTER
    settle(api)
    assert lost not in bootstraps(api)
    assert len(bootstraps(api)) == 2
    assert "BootstrapsChanged" in [event.reason for event in api.events]
    moved = bootstraps(api)
    set_ready(api, lost, ready=True)
    settle(api)
    assert bootstraps(api) == moved


def test_bootstrap_duty_moves_from_a_node_whose_port_is_taken_and_says_why() -> None:
    api = cluster_of(4)
    settle(api)
    all_ready(api)
    failing = min(bootstraps(api))
    taken = {"serving": False, "message": "port 5000 is in use by registry (process 812)"}
    api.report_ready(f"blue.{failing}", 3, bootstrap=taken)
    settle(api)
    assert failing not in bootstraps(api)
    assert len(bootstraps(api)) == 2
    told = [event.message for event in api.events if event.reason == "BootstrapsChanged"]
    assert f"{failing} is no longer a bootstrap node: port 5000 is in use by registry (process 812)" in told


def test_a_bootstrap_node_that_no_other_can_replace_is_reported_and_tried_last() -> None:
    api = cluster_of(2)
    settle(api)
    for name in ("n0", "n1"):
        api.report_ready(f"blue.{name}", 1)
    api.report_ready("blue.n0", 1, bootstrap={"serving": False, "message": "port 5000 is in use"})
    settle(api)
    assert [item["node"] for item in status(api)["bootstraps"]] == ["n1", "n0"]
    assert condition(api, "Degraded")["reason"] == "BootstrapNotServing"
    assert "bootstrap node n0 admits no joiners: port 5000 is in use" in condition(api, "Degraded")["message"]
    assert condition(api, "Ready")["status"] == "True"
    api.report_ready("blue.n1", 1, bootstrap={"serving": False})
    settle(api)
    assert condition(api, "Ready")["reason"] == "NoBootstrap"


def test_a_member_without_health_and_metrics_is_reported_and_stays_what_it_is() -> None:
    api = cluster_of(2)
    settle(api)
    for name in ("n0", "n1"):
        api.report_ready(f"blue.{name}", 1)
    settle(api)
    before = bootstraps(api)
    api.report_ready("blue.n0", 1, metricsProblem="TCP port 9586 is in use by nginx (process 812)")
    settle(api)
    assert condition(api, "Degraded")["reason"] == "MetricsNotServed"
    assert (
        "n0 serves neither health nor metrics: TCP port 9586 is in use"
        in condition(api, "Degraded")["message"]
    )
    assert condition(api, "Ready")["status"] == "True"
    assert bootstraps(api) == before
    api.report_ready("blue.n0", 1)
    settle(api)
    assert condition(api, "Degraded")["status"] == "False"


def test_those_who_have_joined_are_first_to_be_asked() -> None:
    api = cluster_of()
    settle(api)
    second = max(bootstraps(api))
    api.report_ready(f"blue.{second}", 0)
    settle(api)
    assert [b["node"] for b in status(api)["bootstraps"]] == [second, min(bootstraps(api))]


def test_too_few_addresses_are_told_and_the_rest_is_served() -> None:
    api = cluster_of(4, cidrs=["10.232.0.0/30"])
    settle(api)
    assert len(members(api)) == 2
    told = condition(api, "Degraded")
    assert told["reason"] == "AddressesExhausted"
    assert "10.232.0.0/30 has no address left: 2 are in use" in told["message"]
    api.remove("Node", "n0")
    settle(api)
    assert len(members(api)) == 2


def test_names_no_certificate_can_carry_are_told() -> None:
    api = cluster_of()
    api.put(node_body("x" * 65))
    settle(api)
    assert len(members(api)) == 3
    assert condition(api, "Degraded")["reason"] == "NodeNameTooLong"


def test_a_dual_stack_mesh_gives_two_addresses() -> None:
    api = cluster_of(cidrs=["10.232.0.0/16", "fd00:10:232::/64"])
    settle(api)
    for body in members(api).values():
        four, six = body["spec"]["addresses"]
        assert four.startswith("10.232.")
        assert six.startswith("fd00:10:232::")


def test_a_spec_that_cannot_be_read_is_told() -> None:
    api = cluster_of()
    api.put(mesh_body("odd", cidrs=["nonsense"]))
    settle(api, "odd")
    assert condition(api, "Ready", "odd")["reason"] == "InvalidSpec"


def test_what_the_api_server_refused_is_told() -> None:
    api = cluster_of()
    plan = plan_mesh("blue", api.state(), DEPLOYMENT, NOW, entropy(), last_error="")
    for action in plan.actions:
        api.execute(action)
    plan = plan_mesh(
        "blue", api.state(), DEPLOYMENT, NOW, entropy(), last_error="apply DaemonSet x was refused: no"
    )
    assert plan.status is not None
    degraded = next(c for c in plan.status["conditions"] if c["type"] == "Degraded")
    assert (degraded["reason"], degraded["message"]) == ("ApplyFailed", "apply DaemonSet x was refused: no")


def test_members_changed_by_others_are_put_right() -> None:
    api = cluster_of()
    settle(api)
    body = members(api)["n1"]
    body["spec"]["bootstrap"] = True
    body["metadata"]["finalizers"] = []
    body["metadata"]["ownerReferences"] = []
    settle(api)
    after = members(api)["n1"]
    assert after["metadata"]["finalizers"] == ["wgmesh.dev/leave"]
    assert after["metadata"]["ownerReferences"][0]["name"] == "blue"
    assert len(bootstraps(api)) == 2


@pytest.mark.heavy
def test_five_thousand_members_who_are_well_ask_for_nothing() -> None:
    api = cluster_of(5000, cidrs=["10.232.0.0/16"])
    settle(api)
    for number in range(5000):
        api.report_ready(f"blue.n{number}", 4999)
    settle(api)
    assert status(api)["links"] == f"{5000 * 4999}/{5000 * 4999}"
    state = api.state()
    plan = plan_mesh("blue", state, DEPLOYMENT, api.now + timedelta(seconds=1), entropy())
    assert plan.actions == []
