"""WgMeshNodes that claim properties of another: which one has them, which is reported, and the consequences."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from tests.unit.operator.harness import (
    MemoryApi,
    cluster_of,
    condition,
    csr_body,
    csr_pem,
    external_body,
    node_body,
    settle,
)

from wgmesh_api.roster import LEAVE_FINALIZER, AddressHolders, read_node

KEY = "RUVFRUVFRUVFRUVFRUVFRUVFRUVFRUVFRUVFRUVFRUU="


@pytest.fixture
def api() -> MemoryApi:
    api = cluster_of()
    settle(api)
    return api


def spec(api: MemoryApi, name: str) -> dict[str, Any]:
    body = api.get("WgMeshNode", f"blue.{name}")
    assert body is not None
    found: dict[str, Any] = body["spec"]
    return found


def member_body(node: str, addresses: list[str], **more: Any) -> dict[str, Any]:
    body = external_body(node=node, addresses=addresses, external=False)
    return {**body, "spec": body["spec"] | more}


def verdict(api: MemoryApi, request: str) -> dict[str, Any]:
    body = api.get("CertificateSigningRequest", request)
    assert body is not None
    found: dict[str, Any] = body["status"]["conditions"][0]
    return found


def events_of(api: MemoryApi, name: str) -> list[tuple[str, str]]:
    return [(event.reason, event.message) for event in api.events if event.name == name]


def test_a_node_of_the_cluster_with_anothers_address_is_told_and_gets_no_certificate(api: MemoryApi) -> None:
    victim = spec(api, "n0")["addresses"]
    api.put(node_body("n9", "192.0.2.9"))
    api.now += timedelta(seconds=5)
    forged = member_body("n9", victim, routes=["172.30.0.0/16"])
    forged["metadata"]["finalizers"] = [LEAVE_FINALIZER]
    api.put(forged)
    settle(api)
    told = condition(api, "Degraded")
    assert told["reason"] == "AddressTaken"
    assert f"n9 requests {victim[0]} of n0: delete WgMeshNode blue.n9" in told["message"]
    assert events_of(api, "blue.n9") == [("AddressTaken", told["message"])]
    assert spec(api, "n9")["routes"] == []
    api.put(csr_body("r", csr_pem("n9", None), nodes=["n9"]))
    api.put(csr_body("s", csr_pem("n0", None), nodes=["n0"]))
    settle(api)
    assert (verdict(api, "r")["type"], verdict(api, "r")["reason"]) == ("Denied", "AddressTaken")
    assert verdict(api, "s")["type"] == "Approved"
    api.remove("WgMeshNode", "blue.n9")
    api.report("blue.n9", phase="Left")
    settle(api)
    assert spec(api, "n9")["addresses"] != victim
    assert condition(api, "Degraded")["reason"] != "AddressTaken"


def test_a_member_created_again_at_once_with_anothers_address_is_told(api: MemoryApi) -> None:
    api.now += timedelta(seconds=5)
    api.objects.pop(("WgMeshNode", "blue.n0"))
    api.put(member_body("n0", spec(api, "n1")["addresses"]))
    settle(api)
    assert condition(api, "Degraded")["reason"] == "AddressTaken"
    assert "n0 requests" in condition(api, "Degraded")["message"]


@pytest.mark.parametrize("addresses", [["10.9.9.9"], ["10.232.0.0"]])
def test_a_node_of_the_cluster_outside_the_ranges_is_told(api: MemoryApi, addresses: list[str]) -> None:
    api.put(node_body("n9", "192.0.2.9"))
    api.put(member_body("n9", addresses))
    settle(api)
    assert condition(api, "Degraded")["reason"] == "AddressOutOfRange"


@pytest.mark.parametrize(("first", "second"), [("aaa", "zzz"), ("zzz", "aaa")])
def test_of_two_with_one_address_and_one_second_the_first_by_name_has_it(
    api: MemoryApi, first: str, second: str
) -> None:
    """Whichever is created, listed or read first."""
    for name in (first, second):
        api.put(external_body(node=name, addresses=["10.232.7.7"]))
    settle(api)
    assert "zzz requests 10.232.7.7 of aaa" in condition(api, "Degraded")["message"]
    assert api.get("Secret", "wgmesh-blue-aaa-join") is not None
    assert api.get("Secret", "wgmesh-blue-zzz-join") is None
    refused = api.get("WgMeshNode", "blue.zzz")
    assert refused is not None
    assert refused["status"]["conditions"][0]["reason"] == "AddressTaken"
    nodes = [read_node(body) for body in api.of_kind("WgMeshNode")]
    for order in (nodes, nodes[::-1]):
        holders = AddressHolders(order)
        holder = holders.holder(ip_address("10.232.7.7"))
        assert holder is not None
        assert holder.node == "aaa"
        holders.drop(holder)
        assert holders.holder(ip_address("10.232.7.7")) != holder


def test_routes_that_a_person_gave_an_external_member_count_for_nothing(api: MemoryApi) -> None:
    api.put(external_body(routes=["0.0.0.0/0"]))
    api.put(external_body(node="refused", addresses=spec(api, "n0")["addresses"], routes=["10.0.0.0/8"]))
    api.objects[("WgMeshNode", "blue.refused")]["metadata"]["creationTimestamp"] = "2031-01-01T00:00:00Z"
    settle(api)
    assert spec(api, "laptop")["routes"] == []
    refused = api.get("WgMeshNode", "blue.refused")
    assert refused is not None
    assert not refused["metadata"].get("finalizers")
    assert read_node(refused).routes == ()


def test_only_bootstrap_nodes_report_on_external_members(api: MemoryApi) -> None:
    api.put(external_body())
    settle(api)
    bootstraps = {b["spec"]["node"] for b in api.of_kind("WgMeshNode") if b["spec"].get("bootstrap")}
    (plain,) = {"n0", "n1", "n2"} - bootstraps
    forged = {"node": "laptop", "publicKey": KEY, "endpoint": "192.0.2.66:1", "reachable": True}
    api.report_ready(f"blue.{plain}", 2, externals=[forged])
    settle(api)
    laptop = api.get("WgMeshNode", "blue.laptop")
    assert laptop is not None
    assert (laptop["status"]["phase"], laptop["status"].get("publicKey")) == ("Pending", None)
    api.report_ready(f"blue.{min(bootstraps)}", 2, externals=[forged])
    settle(api)
    laptop = api.get("WgMeshNode", "blue.laptop")
    assert laptop is not None
    assert (laptop["status"]["phase"], laptop["status"]["publicKey"]) == ("Joined", KEY)


def test_a_member_whose_node_cannot_be_read_stays(api: MemoryApi) -> None:
    broken = api.get("Node", "n1")
    assert broken is not None
    broken["spec"]["taints"] = [{"key": "", "effect": "NoSchedule"}]
    settle(api)
    assert spec(api, "n1")["node"] == "n1"
    assert condition(api, "Degraded")["reason"] == "ObjectUnreadable"
    assert "Node n1 cannot be read" in condition(api, "Degraded")["message"]
    api.remove("Node", "n1")
    settle(api)
    assert "n1" not in [b["spec"]["node"] for b in api.of_kind("WgMeshNode") if not _leaves(b)]


def test_a_member_that_cannot_be_read_is_not_created_again(api: MemoryApi) -> None:
    before = dict(spec(api, "n1"))
    spec(api, "n1")["mesh"] = ""
    settle(api)
    assert spec(api, "n1")["addresses"] == before["addresses"]
    told = condition(api, "Degraded")
    assert "WgMeshNode blue.n1 cannot be read: UnreadableObject: the object has no mesh" in told["message"]
    assert [reason for reason, _ in events_of(api, "blue.n1")] == ["ObjectUnreadable"]


def test_members_of_a_mesh_that_cannot_be_read_stay(api: MemoryApi) -> None:
    mesh = api.get("WgMesh", "blue")
    assert mesh is not None
    uid = mesh["metadata"].pop("uid")
    settle(api)
    assert len(api.of_kind("WgMeshNode")) == 3
    mesh["metadata"]["uid"] = uid
    settle(api)


def _leaves(body: dict[str, Any]) -> bool:
    return bool(body["metadata"].get("deletionTimestamp"))
