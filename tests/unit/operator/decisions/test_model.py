"""WgMesh objects, read once into a mesh or into the reason why not."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from tests.unit.operator.harness import NAMESPACE, NOW, csr_body, mesh_body, mesh_of

from wgmesh_api.fields import UnreadableObject, write_time
from wgmesh_operator.decisions.model import (
    InvalidMesh,
    MeshMetadata,
    NodeRoutes,
    Requester,
    RequestState,
    read_mesh_object,
    read_signing_request,
)


def stamped(body: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {**body, "metadata": body["metadata"] | {"uid": "uid-7", "generation": 3} | metadata}


def test_texts_of_a_valid_spec_are_parsed() -> None:
    mesh = mesh_of(
        mesh_body(
            cidrs=["10.232.0.0/16", "fd00:10::/64"],
            certificates={"lifetime": "36h"},
            rotation={"gossipKeys": "24h"},
            routes={"nodes": [{"node": "gate", "cidrs": ["192.168.7.0/24", "fd07::/48"]}]},
        )
    )
    assert mesh.cidrs == (ip_network("10.232.0.0/16"), ip_network("fd00:10::/64"))
    assert mesh.certificate_lifetime == timedelta(hours=36)
    assert mesh.gossip_key_interval == timedelta(hours=24)
    assert mesh.routes == (NodeRoutes("gate", (ip_network("192.168.7.0/24"), ip_network("fd07::/48"))),)


def test_gossip_keys_have_no_interval_by_default() -> None:
    assert mesh_of(mesh_body()).gossip_key_interval is None


@pytest.mark.parametrize(
    "spec",
    [
        {"cidrs": []},
        {"cidrs": ["10.232.1.1/16"]},
        {"cidrs": ["127.0.0.0/8"]},
        {"certificates": {"lifetime": "soon"}},
        {"rotation": {"gossipKeys": "now and then"}},
        {"rotation": {"wireguardKeys": "now and then"}},
        {"routes": {"nodes": [{"node": "gate", "cidrs": ["192.168.7.9/24"]}]}},
        {"bootstrap": {"port": 70000}},
    ],
)
def test_invalid_spec_gives_an_invalid_mesh_with_one_line_of_error(spec: dict[str, Any]) -> None:
    mesh = read_mesh_object(stamped(mesh_body(**spec)))
    assert isinstance(mesh, InvalidMesh)
    assert mesh.error
    assert "\n" not in mesh.error


@pytest.mark.parametrize("spec", [{}, {"cidrs": []}])
def test_metadata_and_status_are_read_whether_the_spec_is_valid_or_not(spec: dict[str, Any]) -> None:
    body = stamped(
        mesh_body(**spec),
        creationTimestamp=write_time(NOW),
        deletionTimestamp=write_time(NOW + timedelta(hours=1)),
        finalizers=["wgmesh.dev/mesh"],
        resourceVersion="9",
        annotations={"a": "b"},
    )
    mesh = read_mesh_object(body | {"status": {"nodes": "1/1"}})
    assert mesh.metadata == MeshMetadata(
        name="blue",
        uid="uid-7",
        generation=3,
        created=NOW,
        deleting_since=NOW + timedelta(hours=1),
        finalizers=("wgmesh.dev/mesh",),
        resource_version="9",
        annotations={"a": "b"},
    )
    assert (mesh.name, mesh.uid) == ("blue", "uid-7")
    assert mesh.status == {"nodes": "1/1"}


@pytest.mark.parametrize("field", ["name", "uid"])
def test_mesh_without_name_or_uid_is_rejected(field: str) -> None:
    body = stamped(mesh_body())
    del body["metadata"][field]
    with pytest.raises(UnreadableObject):
        read_mesh_object(body)


def test_owner_reference_names_the_controller() -> None:
    owner = mesh_of(stamped(mesh_body())).metadata.owner
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
        "WgMesh",
        "blue",
        "uid-7",
        True,
    )


def test_invalid_mesh_has_no_spec_to_be_used() -> None:
    assert "spec" not in {field.name for field in fields(InvalidMesh)}


def test_request_has_its_requester_and_what_it_asks_for() -> None:
    request = read_signing_request(csr_body("r", nodes=["alpha"], expiration=600))
    assert request.requester == Requester(f"system:serviceaccount:{NAMESPACE}:wgmesh-blue", ("alpha",))
    assert request.usages == ("digital signature", "client auth")
    assert (request.created, request.expiration_seconds) == (NOW, 600)
    assert request.state == RequestState()


@pytest.mark.parametrize(
    ("status", "state", "settled"),
    [
        ({}, RequestState(), False),
        ({"conditions": [{"type": "Approved"}]}, RequestState(approved=True), False),
        (
            {"conditions": [{"type": "Approved"}], "certificate": "Y2VydA=="},
            RequestState(approved=True, signed=True),
            True,
        ),
        ({"conditions": [{"type": "Denied"}]}, RequestState(denied=True), True),
        (
            {"conditions": [{"type": "Approved"}, {"type": "Failed"}]},
            RequestState(approved=True, failed=True),
            True,
        ),
    ],
)
def test_state_of_a_request_is_read_from_its_status(
    status: dict[str, Any], state: RequestState, settled: bool
) -> None:
    read = read_signing_request(csr_body("r") | {"status": status}).state
    assert (read, read.settled) == (state, settled)
