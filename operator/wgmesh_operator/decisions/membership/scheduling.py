"""Nodes on which a mesh's DaemonSet runs: its selector and tolerations, evaluated like the DaemonSet controller does.

The controller adds tolerations for a node's own conditions; those taints exclude no agent. Source: kubernetes
pkg/controller/daemon/util, AddOrUpdateDaemonPodTolerations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wgmesh_api.resources.mesh import Toleration, WgMeshSpec
from wgmesh_operator.decisions.cluster_node import ClusterNode, Taint

_REPELLING = frozenset({"NoSchedule", "NoExecute"})
_ALWAYS_TOLERATED = frozenset(
    {
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
        ("node.kubernetes.io/network-unavailable", "NoSchedule"),
    }
)


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect is not None and toleration.effect != taint.effect:
        return False
    if not toleration.key:
        return toleration.operator == "Exists"
    if toleration.key != taint.key:
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == taint.value


def selects(spec: WgMeshSpec, node: ClusterNode) -> bool:
    """Whether `node` is to be a member."""
    labels = node.labels
    if any(labels.get(key) != value for key, value in spec.node_selector.items()):
        return False
    return all(
        taint.effect not in _REPELLING
        or (taint.key, taint.effect) in _ALWAYS_TOLERATED
        or any(tolerates(toleration, taint) for toleration in spec.tolerations)
        for taint in node.taints
    )


def selected(spec: WgMeshSpec, nodes: Mapping[str, ClusterNode] | Iterable[ClusterNode]) -> set[str]:
    """The names of the nodes that are to be members."""
    every = nodes.values() if isinstance(nodes, Mapping) else nodes
    return {node.name for node in every if selects(spec, node)}
