"""Join bundles as the operator creates them, for tests that join with one."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit import factories
from tests.unit.operator.harness import NAMESPACE, mesh_body

from wgmesh_api.certificates import CertificateAuthority, generate_key
from wgmesh_api.fields import write_time
from wgmesh_api.roster import API_VERSION, LEAVE_FINALIZER
from wgmesh_operator.decisions.actions import Create
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.model import read_member, read_mesh_object
from wgmesh_operator.decisions.trust.authority import Authority
from wgmesh_operator.decisions.trust.join_bundles import BUNDLE, plan_bundle

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def make_authority(mesh: str = "blue", now: datetime = NOW) -> CertificateAuthority:
    return factories.make_authority(mesh, now=now, lifetime=timedelta(days=3650))


def bundle_bytes(
    authority: CertificateAuthority,
    *,
    mesh: str = "blue",
    node: str = "laptop",
    addresses: Sequence[str] = ("10.232.0.7",),
    bootstraps: Sequence[str] = ("192.0.2.1:5000", "192.0.2.2:5000"),
    now: datetime = NOW,
    secrets: Sequence[str] = (),
) -> bytes:
    """Content of the Secret of an external machine."""
    member = read_member(
        {
            "apiVersion": API_VERSION,
            "kind": "WgMeshNode",
            "metadata": {
                "name": f"{mesh}.{node}",
                "uid": "uid-1",
                "creationTimestamp": write_time(now),
                "finalizers": [LEAVE_FINALIZER],
            },
            "spec": {"mesh": mesh, "node": node, "external": True, "addresses": list(addresses)},
        }
    )
    body = mesh_body(mesh, created=now)
    body["metadata"]["uid"] = "uid-0"
    serials = iter(range(2, 1000))
    actions = plan_bundle(
        read_mesh_object(body),
        member,
        None,
        Authority(authority, None, ()),
        bootstraps,
        secrets,
        NAMESPACE,
        now,
        Entropy(generate_key, lambda: next(serials), bytes),
    )
    (made,) = (action for action in actions if isinstance(action, Create))
    return base64.b64decode(made.manifest["data"][BUNDLE])


def changed(data: bytes, **fields: Any) -> bytes:
    """The bundle with other fields; None takes one out."""
    content = {**json.loads(data), **fields}
    return json.dumps({key: value for key, value in content.items() if value is not None}).encode()
