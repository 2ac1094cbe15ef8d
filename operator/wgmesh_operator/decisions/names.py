"""Names and labels of the objects that the operator creates."""

from __future__ import annotations

from wgmesh_api.roster import GROUP, MESH_LABEL, NODE_LABEL

MANAGED_BY = "app.kubernetes.io/managed-by"
OPERATOR = "wgmesh-operator"
MANAGED_SELECTOR = f"{MANAGED_BY}={OPERATOR}"
MESH_FINALIZER = f"{GROUP}/mesh"
ROTATE_CA = f"{GROUP}/rotate-ca"
"""Annotation of a WgMesh: any new value starts a rotation of its CA."""
ROTATE_GOSSIP_KEY = f"{GROUP}/rotate-gossip-key"
"""Annotation of a WgMesh: any new value rotates its gossip key."""
ROTATE_PSK = f"{GROUP}/rotate-psk"
"""Annotation of a WgMesh: any new value creates another secret for its pre-shared keys."""
RESTART_TUNNELS = f"{GROUP}/restart-tunnels"
"""Annotation of a WgMesh: any new value restarts its tunnel pods, one at a time."""
RENDERED = f"{GROUP}/rendered"
"""Annotation of an applied object: a digest of it."""


def ca_secret(mesh: str) -> str:
    return f"wgmesh-{mesh}-ca"


def gossip_secret(mesh: str) -> str:
    return f"wgmesh-{mesh}-gossip"


def psk_secret(mesh: str) -> str:
    return f"wgmesh-{mesh}-psk"


def join_secret(mesh: str, node: str) -> str:
    return f"wgmesh-{mesh}-{node}-join"


def agent_daemon_set(mesh: str) -> str:
    return f"wgmesh-{mesh}"


def tunnel_daemon_set(mesh: str) -> str:
    return f"wgmesh-{mesh}-tunnel"


def agent_binding(mesh: str) -> str:
    """The ClusterRoleBinding of a mesh's agents. No other object of wgmesh has this name, whatever the mesh's
    name is.
    """
    return f"wgmesh-{mesh}-agents"


def labels(mesh: str, component: str, node: str | None = None) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "wgmesh",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/instance": mesh,
        MANAGED_BY: OPERATOR,
        MESH_LABEL: mesh,
        **({NODE_LABEL: node} if node is not None and len(node) <= 63 else {}),
    }
