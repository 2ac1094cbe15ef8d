"""Where nodes are reached: ExternalIPs, the annotation, addresses that change, and IPv6 alone."""

from __future__ import annotations

import base64
import json
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from tests.unit.operator.harness import (
    DEPLOYMENT,
    MemoryApi,
    condition,
    csr_body,
    csr_pem,
    entropy,
    external_body,
    mesh_body,
    node_body,
    settle,
)

from wgmesh_operator.decisions.plan import plan_mesh
from wgmesh_operator.decisions.status.status_debounce import next_write_at

ENDPOINT = "wgmesh.dev/endpoint"


def cluster(*nodes: dict[str, Any], **spec: Any) -> MemoryApi:
    api = MemoryApi()
    for node in nodes:
        api.put(node)
    api.put(mesh_body(**spec))
    settle(api)
    return api


def bootstraps(api: MemoryApi) -> list[dict[str, str]]:
    body = api.get("WgMesh", "blue")
    assert body is not None
    found: list[dict[str, str]] = body["status"]["bootstraps"]
    return found


def hint(api: MemoryApi, node: str) -> str | None:
    body = api.get("WgMeshNode", f"blue.{node}")
    assert body is not None
    found: str | None = body["spec"].get("endpointHint")
    return found


def test_a_node_with_an_external_address_is_reached_there_too() -> None:
    api = cluster(node_body("n0", "10.0.0.1", external="203.0.113.7"), node_body("n1", "10.0.0.2"))
    assert bootstraps(api) == [
        {"node": "n0", "address": "10.0.0.1:5000", "outerAddress": "203.0.113.7:5000"},
        {"node": "n1", "address": "10.0.0.2:5000"},
    ]
    assert (hint(api, "n0"), hint(api, "n1")) == ("203.0.113.7", None)
    api.put(external_body())
    settle(api)
    secret = api.get("Secret", "wgmesh-blue-laptop-join")
    assert secret is not None
    bundle = json.loads(base64.b64decode(secret["data"]["bundle.json"]))
    assert bundle["bootstraps"] == ["203.0.113.7:5000", "10.0.0.1:5000", "10.0.0.2:5000"]


def test_the_annotation_goes_before_an_external_address() -> None:
    annotated = {ENDPOINT: "2001:db8::7"}
    api = cluster(node_body("n0", "10.0.0.1", external="203.0.113.7", annotations=annotated))
    assert bootstraps(api)[0]["outerAddress"] == "[2001:db8::7]:5000"
    assert hint(api, "n0") == "2001:db8::7"


@pytest.mark.parametrize("text", ["127.0.0.1", "fe80::1%eth0", "203.0.113.7:5000", "example.org", "x" * 1000])
def test_an_annotation_that_is_no_address_is_told_and_changes_nothing(text: str) -> None:
    api = cluster(node_body("n0", "10.0.0.1", external="203.0.113.7", annotations={ENDPOINT: text}))
    assert bootstraps(api)[0]["outerAddress"] == "203.0.113.7:5000"
    assert condition(api, "Degraded")["reason"] == "EndpointUnusable"
    assert f"annotation {ENDPOINT} of Node n0" in condition(api, "Degraded")["message"]


def test_a_node_with_an_external_address_alone_is_a_bootstrap_node_there() -> None:
    api = cluster(node_body("n0", "", external="203.0.113.7"))
    assert bootstraps(api) == [{"node": "n0", "address": "203.0.113.7:5000"}]


def test_the_certificate_of_a_bootstrap_node_names_where_it_is_reached() -> None:
    api = cluster(node_body("n0", "10.0.0.1", external="203.0.113.7"))
    api.put(csr_body("r", csr_pem("n0", None), nodes=["n0"]))
    settle(api)
    body = api.get("CertificateSigningRequest", "r")
    assert body is not None
    cert = x509.load_pem_x509_certificate(base64.b64decode(body["status"]["certificate"]))
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = set(names.get_values_for_type(x509.IPAddress))
    assert {ip_address("10.0.0.1"), ip_address("203.0.113.7")} <= addresses


def test_bootstrap_addresses_follow_a_node_whose_address_changes_at_once() -> None:
    api = cluster(node_body("n0", "10.0.0.1"))
    before = api.get("WgMesh", "blue")
    assert before is not None
    api.put(node_body("n0", "10.0.0.77", external="203.0.113.8"))
    plan = plan_mesh("blue", api.state(), DEPLOYMENT, api.now, entropy())
    assert plan.status is not None
    # however recently the status was written
    assert next_write_at(before["status"], plan.status, api.now, api.now) == api.now
    settle(api)
    assert bootstraps(api) == [
        {"node": "n0", "address": "10.0.0.77:5000", "outerAddress": "203.0.113.8:5000"}
    ]
    assert hint(api, "n0") == "203.0.113.8"


def test_a_cluster_of_ipv6_alone_is_a_mesh() -> None:
    api = cluster(
        node_body("n0", "fd00:10::1", pod_cidr="fd00:244::/64"),
        node_body("n1", "fd00:10::2", pod_cidr="fd00:244:0:1::/64"),
        cidrs=["fd00:232::/64"],
        routes={"podCIDRs": True},
    )
    assert bootstraps(api)[0]["address"] == "[fd00:10::1]:5000"
    for number in range(2):
        body = api.get("WgMeshNode", f"blue.n{number}")
        assert body is not None
        (address,) = body["spec"]["addresses"]
        assert ip_address(address).version == 6
        assert body["spec"]["routes"] == [f"fd00:244:0:{number}::/64".replace(":0:0::", "::")]
        api.report_ready(f"blue.n{number}", 1)
    settle(api)
    assert condition(api, "FullyMeshed")["status"] == "True"
