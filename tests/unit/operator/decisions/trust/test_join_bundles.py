from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from tests.unit.operator.harness import NOW, MemoryApi, cluster_of, condition, external_body, settle

from wgmesh_api.certificates import load_authority
from wgmesh_api.identity import identity_of
from wgmesh_operator.decisions.trust.join_bundles import LIFETIME

SECRET = "wgmesh-blue-laptop-join"


@pytest.fixture
def api() -> MemoryApi:
    api = cluster_of()
    api.put(external_body())
    settle(api)
    return api


def bundle(api: MemoryApi) -> dict[str, Any]:
    body = api.get("Secret", SECRET)
    assert body is not None
    found: dict[str, Any] = json.loads(base64.b64decode(body["data"]["bundle.json"]))
    return found


def certificate(api: MemoryApi) -> x509.Certificate:
    return x509.load_pem_x509_certificate(bundle(api)["certificate"].encode())


def member(api: MemoryApi) -> dict[str, Any]:
    body = api.get("WgMeshNode", "blue.laptop")
    assert body is not None
    return body


def test_a_bundle_is_all_one_needs_to_enter(api: MemoryApi) -> None:
    found = bundle(api)
    assert (found["mesh"], found["node"]) == ("blue", "laptop")
    assert found["addresses"] == member(api)["spec"]["addresses"]
    assert found["bootstraps"] == ["192.0.2.1:5000", "192.0.2.2:5000"]
    cert = certificate(api)
    identity = identity_of(cert)
    assert identity is not None
    assert identity.uri == "wgmesh://blue/node/laptop"
    cert.verify_directly_issued_by(x509.load_pem_x509_certificate(found["ca"].encode()))
    with pytest.raises(ValueError, match="not a CA's"):
        load_authority(found["certificate"].encode(), found["key"].encode())


def test_a_bundle_stays_as_it_is(api: MemoryApi) -> None:
    before = bundle(api)
    api.now += LIFETIME / 2
    settle(api)
    assert bundle(api) == before


def test_a_bundle_is_renewed_before_its_certificate_ends(api: MemoryApi) -> None:
    before = certificate(api)
    api.now += LIFETIME * 0.7
    settle(api)
    assert certificate(api).not_valid_after_utc > before.not_valid_after_utc
    assert "BundleRenewed" in [event.reason for event in api.events]


def test_new_bootstraps_leave_key_and_certificate_alone(api: MemoryApi) -> None:
    before = bundle(api)
    api.remove("Node", "n0")
    settle(api)
    after = bundle(api)
    assert after["bootstraps"] == ["192.0.2.2:5000", "192.0.2.3:5000"]
    assert after | {"bootstraps": []} == before | {"bootstraps": []}


def test_a_member_made_anew_gets_a_certificate_that_begins_with_it(api: MemoryApi) -> None:
    before = certificate(api)
    api.remove("WgMeshNode", "blue.laptop")
    settle(api)
    assert api.get("Secret", SECRET) is None
    api.now += timedelta(hours=1)
    api.put(external_body())
    settle(api)
    after = certificate(api)
    assert after.serial_number != before.serial_number
    assert after.not_valid_before_utc == NOW + timedelta(hours=1)


def test_a_wanted_address_is_given_if_it_can_be(api: MemoryApi) -> None:
    api.put(external_body(node="phone", addresses=["10.232.7.7"]))
    settle(api)
    body = api.get("WgMeshNode", "blue.phone")
    assert body is not None
    assert body["spec"]["addresses"] == ["10.232.7.7"]
    assert api.get("Secret", "wgmesh-blue-phone-join") is not None


@pytest.mark.parametrize("wanted", ["10.9.9.9", "10.232.0.0"])
def test_an_address_that_cannot_be_is_told(api: MemoryApi, wanted: str) -> None:
    api.put(external_body(node="phone", addresses=[wanted]))
    settle(api)
    assert condition(api, "Degraded")["reason"] == "AddressOutOfRange"


def test_an_address_of_another_member_is_told(api: MemoryApi) -> None:
    wanted = member(api)["spec"]["addresses"]
    api.now += timedelta(seconds=5)
    api.put(external_body(node="phone", addresses=wanted))
    settle(api)
    assert condition(api, "Degraded")["reason"] == "AddressTaken"
    assert api.get("Secret", "wgmesh-blue-phone-join") is None


def test_status_is_what_bootstrap_nodes_say(api: MemoryApi) -> None:
    assert member(api)["status"]["phase"] == "Pending"
    assert "copy its join bundle" in member(api)["status"]["conditions"][0]["message"]
    for number in range(3):
        known = [{"node": "laptop", "publicKey": "k", "endpoint": "198.51.100.7:1", "reachable": number == 1}]
        api.report_ready(f"blue.n{number}", 3, externals=known)
    settle(api)
    status = member(api)["status"]
    assert (status["phase"], status["publicKey"], status["peers"]) == ("Joined", "k", "3/3")
    assert condition(api, "FullyMeshed")["status"] == "True"
    body = api.get("WgMesh", "blue")
    assert body is not None
    assert (body["status"]["nodes"], body["status"]["links"]) == ("4/4", "12/12")
    for number in range(3):
        api.report_ready(
            f"blue.n{number}", 2, externals=[{"node": "laptop", "publicKey": "k", "reachable": False}]
        )
    settle(api)
    status = member(api)["status"]
    assert (status["phase"], status["conditions"][0]["reason"]) == ("Joined", "Unreachable")
    assert condition(api, "FullyMeshed")["reason"] == "NodesDown"
    assert "laptop" in condition(api, "Degraded")["message"]


def test_one_made_anew_has_not_joined_though_its_namesake_is_still_told_of(api: MemoryApi) -> None:
    for number in range(3):
        known = [{"node": "laptop", "publicKey": "k", "endpoint": "198.51.100.7:1", "reachable": True}]
        api.report_ready(f"blue.n{number}", 3, externals=known)
    settle(api)
    assert member(api)["status"]["phase"] == "Joined"
    api.remove("WgMeshNode", "blue.laptop")
    settle(api)
    api.put(external_body())
    settle(api)
    status = member(api)["status"]
    assert (status["phase"], status.get("publicKey", "")) == ("Pending", "")
    assert status["conditions"][0]["reason"] == "NotJoined"


def test_a_machine_that_never_entered_is_not_missed(api: MemoryApi) -> None:
    for number in range(3):
        api.report_ready(f"blue.n{number}", 2)
    settle(api)
    assert condition(api, "FullyMeshed")["status"] == "True"


def test_a_machine_of_no_mesh_is_told() -> None:
    api = MemoryApi()
    api.put(external_body("red"))
    settle(api, "red")
    body = api.get("WgMeshNode", "red.laptop")
    assert body is not None
    assert body["status"]["conditions"][0]["reason"] == "MeshNotFound"
