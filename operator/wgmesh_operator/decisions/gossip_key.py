"""A mesh's gossip keyring: one key, made with the mesh."""

from __future__ import annotations

import base64
import json

from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Create, Kind
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.model import MeshObject

KEY_BYTES = 32
KEYRING = "keyring"
"""The Secret's key: a JSON list of keys in base64, that which encrypts first."""


def first_keyring(mesh: MeshObject, namespace: str, entropy: Entropy) -> Create:
    key = base64.b64encode(entropy.random_bytes(KEY_BYTES)).decode()
    return Create(
        Kind.SECRET,
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {
                "name": names.gossip_secret(mesh.name),
                "namespace": namespace,
                "labels": names.labels(mesh.name, "gossip"),
                "ownerReferences": [mesh.owner],
            },
            "data": {KEYRING: base64.b64encode(json.dumps([key]).encode()).decode()},
        },
    )
