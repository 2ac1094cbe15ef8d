"""Secrets that the operator writes: CA, gossip key, pre-shared keys and join bundles.

An existing Secret is replaced in exactly the version that was read: if another writer was faster, the API server
rejects the write, and the next pass decides again.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Action, Create, Emit, Json, Kind, Replace
from wgmesh_operator.decisions.model import Mesh, Secret


@dataclass(frozen=True, slots=True)
class SecretIdentity:
    """Name, namespace, labels and owner of a Secret; `owner` is an owner reference."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    owner: Json


def secret_of_mesh(mesh: Mesh, namespace: str, name: str, component: str) -> SecretIdentity:
    """The identity of a Secret that is deleted with `mesh`."""
    return SecretIdentity(name, namespace, names.labels(mesh.name, component), mesh.metadata.owner)


def secret_manifest(
    identity: SecretIdentity, data: Mapping[str, bytes], annotations: Mapping[str, str], version: str = ""
) -> Json:
    """The Secret with `data`; `version` is the resource version that it replaces, empty for a new one."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": identity.name,
            "namespace": identity.namespace,
            "labels": dict(identity.labels),
            "annotations": dict(annotations),
            "ownerReferences": [identity.owner],
            **({"resourceVersion": version} if version else {}),
        },
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def create_secret(
    identity: SecretIdentity, data: Mapping[str, bytes], annotations: Mapping[str, str]
) -> Create:
    return Create(Kind.SECRET, secret_manifest(identity, data, annotations))


def replace_secret(
    identity: SecretIdentity, current: Secret, data: Mapping[str, bytes], annotations: Mapping[str, str]
) -> Replace:
    """Replaces the version of the Secret that `current` is."""
    return Replace(Kind.SECRET, secret_manifest(identity, data, annotations, current.resource_version))


@dataclass(frozen=True, slots=True)
class MeshSecret:
    """One of a mesh's Secrets, as read. Rotations write it step by step."""

    mesh: Mesh
    identity: SecretIdentity
    current: Secret

    def write(
        self,
        data: Mapping[str, bytes],
        annotations: Mapping[str, str],
        reason: str,
        message: str,
        *,
        warning: bool = False,
    ) -> list[Action]:
        """Replaces the Secret and reports that as an Event of the mesh."""
        event = Emit(Kind.MESH, self.mesh.name, self.mesh.uid, reason, message, warning)
        return [replace_secret(self.identity, self.current, data, annotations), event]
