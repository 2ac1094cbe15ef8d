"""The Secrets that the operator writes: one form, and no version overwritten that was not read."""

from __future__ import annotations

import base64

from tests.unit.operator.harness import NAMESPACE, mesh_body, mesh_of

from wgmesh_operator.decisions.actions import Create, Emit, Kind, Replace
from wgmesh_operator.decisions.model import Secret
from wgmesh_operator.decisions.trust.secret_manifests import (
    MeshSecret,
    SecretIdentity,
    create_secret,
    replace_secret,
    secret_manifest,
    secret_of_mesh,
)

MESH = mesh_of(mesh_body())
IDENTITY = secret_of_mesh(MESH, NAMESPACE, "wgmesh-blue-ca", "ca")
CURRENT = Secret("wgmesh-blue-ca", uid="u", resource_version="17")


def test_manifest_has_identity_data_and_annotations() -> None:
    identity = SecretIdentity("s", "ns", {"label": "x"}, {"uid": "owner"})
    assert secret_manifest(identity, {"key": b"\xffvalue"}, {"a": "b"}) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": "s",
            "namespace": "ns",
            "labels": {"label": "x"},
            "annotations": {"a": "b"},
            "ownerReferences": [{"uid": "owner"}],
        },
        "data": {"key": base64.b64encode(b"\xffvalue").decode()},
    }


def test_secret_of_a_mesh_is_owned_by_it_and_labelled() -> None:
    assert IDENTITY.owner == MESH.metadata.owner
    assert IDENTITY.namespace == NAMESPACE
    assert IDENTITY.labels["app.kubernetes.io/component"] == "ca"
    assert IDENTITY.labels["app.kubernetes.io/instance"] == "blue"


def test_new_secret_is_created_without_a_version() -> None:
    action = create_secret(IDENTITY, {}, {})
    assert isinstance(action, Create)
    assert (action.kind, action.name) == (Kind.SECRET, "wgmesh-blue-ca")
    assert "resourceVersion" not in action.manifest["metadata"]


def test_existing_secret_is_replaced_in_the_version_that_was_read() -> None:
    action = replace_secret(IDENTITY, CURRENT, {"key": b"new"}, {})
    assert isinstance(action, Replace)
    assert action.manifest["metadata"]["resourceVersion"] == "17"


def test_written_secret_of_a_mesh_is_reported_on_the_mesh() -> None:
    secret = MeshSecret(MESH, IDENTITY, CURRENT)
    assert secret.write({"key": b"new"}, {"a": "b"}, "CASwitched", "the new CA now signs", warning=True) == [
        replace_secret(IDENTITY, CURRENT, {"key": b"new"}, {"a": "b"}),
        Emit(Kind.MESH, "blue", MESH.uid, "CASwitched", "the new CA now signs", True),
    ]
