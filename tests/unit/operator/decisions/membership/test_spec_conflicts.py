from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.operator.harness import (
    NOW,
    MemoryApi,
    cluster_of,
    condition,
    mesh_body,
    node_body,
    settle,
    valid,
)

from wgmesh_operator.decisions.membership.scheduling import selected
from wgmesh_operator.decisions.membership.spec_conflicts import SpecConflict, find_conflicts


def found(api: MemoryApi, name: str) -> list[SpecConflict]:
    state = api.state()
    mesh = valid(state.meshes[name])
    return find_conflicts(mesh, state, selected(mesh.spec, state.nodes))


def test_a_lone_mesh_is_fine() -> None:
    assert found(cluster_of(), "blue") == []


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"cidrs": ["10.232.128.0/17"]}, "CIDROverlap", "overlaps 10.232.0.0/16 of mesh blue"),
        (
            {"wireguard": {"port": 54540}},
            "PortConflict",
            "wireguard.port 54540 is wireguard.port of mesh blue on n0",
        ),
        (
            {"bootstrap": {"port": 9586}},
            "PortConflict",
            "bootstrap.port 9586 is agent.metricsPort of mesh blue",
        ),
        ({"gossip": {"port": 5000}}, "PortConflict", "gossip.port 5000 is bootstrap.port of mesh blue"),
        ({"bootstrap": {"port": 7946}}, "PortConflict", "bootstrap.port 7946 is gossip.port of mesh blue"),
        (
            {"wireguard": {"port": 7947}},
            "PortConflict",
            "wireguard.port 7947 is gossip.port + 1 of mesh blue",
        ),
        (
            {"gossip": {"port": 54539}},
            "PortConflict",
            "gossip.port + 1 54540 is wireguard.port of mesh blue",
        ),
    ],
)
def test_the_younger_of_two_meshes_that_clash_is_told(spec: dict[str, Any], reason: str, words: str) -> None:
    api = cluster_of()
    apart: dict[str, Any] = {
        "cidrs": ["10.240.0.0/16"],
        "wireguard": {"port": 54541},
        "bootstrap": {"port": 5001},
        "agent": {"metricsPort": 9587},
        "gossip": {"port": 7948},
    }
    api.put(mesh_body("red", created=NOW + timedelta(seconds=5), **(apart | spec)))
    assert found(api, "blue") == []
    problem = found(api, "red")[0]
    assert (problem.reason, problem.blocking) == (reason, True)
    assert words in problem.message


def test_ports_may_be_shared_where_no_node_is() -> None:
    api = MemoryApi()
    api.put(node_body("a", labels={"m": "blue"}))
    api.put(node_body("b", labels={"m": "red"}))
    api.put(mesh_body("blue", nodeSelector={"m": "blue"}))
    api.put(mesh_body("red", nodeSelector={"m": "red"}, cidrs=["10.240.0.0/16"]))
    assert found(api, "blue") == found(api, "red") == []


def test_ranges_of_pods_services_and_nodes_are_the_clusters() -> None:
    api = MemoryApi()
    api.put(mesh_body(cidrs=["10.0.0.0/8"]))
    api.put(node_body("a", "10.1.2.3", pod_cidr="10.244.0.0/24"))
    messages = [problem.message for problem in found(api, "blue")]
    assert any("overlaps the pods' range 10.244.0.0/24 of a" in message for message in messages)
    assert any("contains the address 10.1.2.3 of node a" in message for message in messages)


def test_a_mesh_in_the_wrong_is_not_deployed_and_says_why() -> None:
    api = cluster_of()
    api.put(mesh_body("red", created=NOW + timedelta(seconds=5), wireguard={"port": 54541}))
    settle(api)
    settle(api, "red")
    assert api.get("DaemonSet", "wgmesh-red") is None
    assert not [body for body in api.of_kind("WgMeshNode") if body["spec"]["mesh"] == "red"]
    for kind, status in (("Ready", "False"), ("Degraded", "True")):
        told = condition(api, kind, "red")
        assert (told["status"], told["reason"]) == (status, "CIDROverlap")
    assert [(e.reason, e.warning) for e in api.events if e.name == "red"] == [("CIDROverlap", True)]


def test_a_mesh_that_carries_traffic_is_not_taken_away() -> None:
    api = cluster_of()
    settle(api)
    api.put(node_body("n9", "10.232.0.9"))
    settle(api)
    assert api.get("DaemonSet", "wgmesh-blue") is not None
    assert len(api.of_kind("WgMeshNode")) == 4
    assert condition(api, "Degraded")["reason"] == "CIDROverlap"
