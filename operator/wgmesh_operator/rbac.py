"""Permissions of operator and agents, complete and minimal. Tests compare the chart's roles with this list.

Limits that roles cannot express are set by the chart's admission policies: an agent writes the status of its own
WgMeshNode and requests certificates in its own name only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wgmesh_api.roster import GROUP, MESHES, NODES, SIGNER

OWN_SECRETS = "secrets"


class Scope(StrEnum):
    """Scope of a permission: a ClusterRole, a Role in the operator's namespace, a Role in `default`.

    Events on cluster-scoped objects belong to the namespace `default`.
    """

    CLUSTER = "cluster"
    OWN_NAMESPACE = "own namespace"
    DEFAULT_NAMESPACE = "default namespace"


@dataclass(frozen=True, slots=True)
class Permission:
    """`resource` may name a subresource, `wgmeshes/status`. `names` empty: objects of every name."""

    group: str
    resource: str
    verbs: frozenset[str]
    why: str
    names: tuple[str, ...] = ()
    scope: Scope = Scope.CLUSTER


def _permission(
    group: str, resource: str, verbs: str, why: str, names: tuple[str, ...] = (), scope: Scope = Scope.CLUSTER
) -> Permission:
    return Permission(group, resource, frozenset(verbs.split()), why, names, scope)


def operator_permissions(agent_cluster_role: str = "wgmesh-agent") -> tuple[Permission, ...]:
    """Permissions of the operator. It binds agents to `agent_cluster_role`, and to no other role."""
    own = Scope.OWN_NAMESPACE
    return (
        _permission(GROUP, MESHES, "list watch patch", "reads meshes, sets their finalizer"),
        _permission(GROUP, f"{MESHES}/status", "patch", "writes their status"),
        _permission(GROUP, NODES, "list watch create patch delete", "maintains members"),
        _permission(GROUP, f"{NODES}/status", "patch", "writes the status of external members"),
        _permission("", "nodes", "list watch", "reads the nodes of the cluster"),
        _permission("networking.k8s.io", "servicecidrs", "list", "rejects meshes that overlap services"),
        _permission("certificates.k8s.io", "certificatesigningrequests", "list watch", "reads requests"),
        _permission(
            "certificates.k8s.io", "certificatesigningrequests/approval", "update", "approves and denies them"
        ),
        _permission("certificates.k8s.io", "certificatesigningrequests/status", "update", "signs them"),
        _permission("certificates.k8s.io", "signers", "approve sign", "only for its own signer", (SIGNER,)),
        _permission(
            "rbac.authorization.k8s.io",
            "clusterrolebindings",
            "create patch delete",
            "binds each mesh's agents to their role",
        ),
        _permission(
            "rbac.authorization.k8s.io", "clusterroles", "bind", "to that role only", (agent_cluster_role,)
        ),
        _permission(
            "",
            OWN_SECRETS,
            "list watch create update delete",
            "maintains CAs, gossip keys, bundles",
            scope=own,
        ),
        _permission(
            "", "serviceaccounts", "create patch delete", "creates each mesh's agents' account", scope=own
        ),
        _permission("apps", "daemonsets", "list watch create patch delete", "runs the agents", scope=own),
        _permission("", "events", "create patch", "emits Events", scope=Scope.DEFAULT_NAMESPACE),
    )


def agent_permissions() -> tuple[Permission, ...]:
    """Permissions of the agents of every mesh."""
    return (
        _permission(GROUP, MESHES, "get list watch", "bootstrap nodes, CA certificates"),
        _permission(GROUP, NODES, "get list watch", "the roster"),
        _permission(GROUP, f"{NODES}/status", "patch", "writes its own status"),
        _permission(
            "certificates.k8s.io", "certificatesigningrequests", "create get", "requests its certificate"
        ),
    )
