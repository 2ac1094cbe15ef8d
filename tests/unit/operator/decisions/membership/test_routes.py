"""Networks behind members: pods' ranges where they are enabled, named networks, and no duplicates."""

from __future__ import annotations

from typing import Any

from tests.unit.operator.harness import MemoryApi, cluster_of, condition, external_body, node_body, settle


def routes(api: MemoryApi) -> dict[str, list[str]]:
    return {body["spec"]["node"]: body["spec"]["routes"] for body in api.of_kind("WgMeshNode")}


def mesh_of(**wanted: Any) -> MemoryApi:
    api = cluster_of(3, routes=wanted)
    settle(api)
    return api


def test_without_a_word_nothing_is_routed() -> None:
    assert routes(mesh_of()) == {"n0": [], "n1": [], "n2": []}


def test_pods_ranges_are_behind_their_nodes_where_they_are_wanted() -> None:
    assert routes(mesh_of(podCIDRs=True)) == {
        "n0": ["172.16.0.0/24"],
        "n1": ["172.16.1.0/24"],
        "n2": ["172.16.2.0/24"],
    }


def test_a_node_s_pods_range_that_comes_later_is_routed_then() -> None:
    api = mesh_of(podCIDRs=True)
    api.put(node_body("n3", "192.0.2.9"))
    settle(api)
    assert routes(api)["n3"] == []
    api.put(node_body("n3", "192.0.2.9", pod_cidr="172.16.3.0/24"))
    settle(api)
    assert routes(api)["n3"] == ["172.16.3.0/24"]


def test_named_networks_are_behind_the_members_named_and_go_with_the_name() -> None:
    api = mesh_of(
        nodes=[
            {"node": "n1", "cidrs": ["192.168.7.0/24", "fd07::/48"]},
            {"node": "nobody", "cidrs": ["10.9.0.0/16"]},
        ]
    )
    assert routes(api) == {"n0": [], "n1": ["192.168.7.0/24", "fd07::/48"], "n2": []}
    body = api.get("WgMesh", "blue")
    assert body is not None
    body["spec"]["routes"] = {}
    settle(api)
    assert routes(api)["n1"] == []


def test_a_machine_outside_can_be_a_gateway() -> None:
    api = cluster_of(1, routes={"nodes": [{"node": "gate", "cidrs": ["192.168.7.0/24"]}]})
    api.put(external_body(node="gate"))
    settle(api)
    assert routes(api)["gate"] == ["192.168.7.0/24"]


def test_what_overlaps_is_given_to_nobody_and_told() -> None:
    api = mesh_of(
        podCIDRs=True,
        nodes=[
            {"node": "n0", "cidrs": ["172.16.1.128/25", "192.168.0.0/16", "10.232.7.0/24"]},
            {"node": "n1", "cidrs": ["192.168.7.0/24", "192.0.2.0/24"]},
        ],
    )
    assert routes(api)["n0"] == ["172.16.0.0/24", "192.168.0.0/16"]
    assert routes(api)["n1"] == ["172.16.1.0/24", "192.0.2.0/24"]
    told = condition(api, "Degraded")
    assert (told["status"], told["reason"]) == ("True", "RouteOverlap")
    for sentence in (
        "172.16.1.128/25 of n0 is not routed because it overlaps 172.16.1.0/24 of n1",
        "10.232.7.0/24 of n0 is not routed because it overlaps the mesh's own range",
        "192.168.7.0/24 of n1 is not routed because it overlaps 192.168.0.0/16 of n0",
    ):
        assert sentence in told["message"]
