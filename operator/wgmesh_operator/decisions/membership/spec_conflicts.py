"""Conflicts of a spec that only the operator can detect: ranges and ports in use by others. The older mesh takes
precedence.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from wgmesh_api.fields import IPNetwork
from wgmesh_api.resources.mesh import WgMeshSpec
from wgmesh_api.text import shortened
from wgmesh_operator.decisions.membership.scheduling import selected
from wgmesh_operator.decisions.model import AnyMesh, ClusterState, InvalidMesh, Mesh

MAX_NAMED = 3
"""How many nodes a conflict names."""


@dataclass(frozen=True, slots=True)
class SpecConflict:
    """A problem that requires intervention. A `blocking` one prevents the deployment of a mesh that is not deployed
    yet.

    `member` and `uid` are name and uid of the WgMeshNode at fault, which gets an Event; empty: none.
    """

    reason: str
    message: str
    blocking: bool = False
    member: str = ""
    uid: str = ""


def find_conflicts(mesh: Mesh, state: ClusterState, members: AbstractSet[str]) -> list[SpecConflict]:
    """Every overlap of `mesh` with others. `members` are the names of its nodes."""
    found: list[SpecConflict] = []
    for other in sorted(state.meshes.values(), key=_seniority):
        if isinstance(other, InvalidMesh) or other.name == mesh.name or _seniority(mesh) < _seniority(other):
            continue
        found.extend(_with_mesh(mesh, other, state, members))
    found.extend(_with_cluster(mesh, state))
    return found


def _seniority(mesh: AnyMesh) -> tuple[datetime, str]:
    """Sorts the oldest mesh first."""
    return mesh.metadata.created, mesh.name


def _with_mesh(
    mesh: Mesh, other: Mesh, state: ClusterState, members: AbstractSet[str]
) -> Iterator[SpecConflict]:
    for own in mesh.cidrs:
        for theirs in other.cidrs:
            if _overlap(own, theirs):
                yield SpecConflict(
                    "CIDROverlap",
                    f"{own} overlaps {theirs} of mesh {other.name}: delete this mesh and create it with another "
                    "range",
                    blocking=True,
                )
    clashes = sorted(_port_conflicts(mesh.spec, other.spec))
    if not clashes:
        return
    shared_nodes = members & selected(other.spec, state.nodes)
    if shared_nodes:
        shared = shortened(sorted(shared_nodes), MAX_NAMED)
        for own_field, port, their_field in clashes:
            yield SpecConflict(
                "PortConflict",
                f"{own_field} {port} is {their_field} of mesh {other.name} on {shared}: set another port",
                blocking=True,
            )


def _with_cluster(mesh: Mesh, state: ClusterState) -> Iterator[SpecConflict]:
    fix = "delete this mesh and create it with a range that the cluster does not use"
    for own in mesh.cidrs:
        for services in state.service_cidrs:
            if _overlap(own, services):
                yield SpecConflict(
                    "CIDROverlap", f"{own} overlaps the services' range {services}: {fix}", blocking=True
                )
        first, last, version = int(own.network_address), int(own.broadcast_address), own.version
        for node in state.nodes.values():
            pods = next((pods for pods in node.pod_cidrs if _overlap(own, pods)), None)
            if pods is not None:
                yield SpecConflict(
                    "CIDROverlap",
                    f"{own} overlaps the pods' range {pods} of {node.name}: {fix}",
                    blocking=True,
                )
                break
        for node in state.nodes.values():
            inside = next(
                (a for a in node.addresses.internal if a.version == version and first <= int(a) <= last), None
            )
            if inside is not None:
                yield SpecConflict(
                    "CIDROverlap",
                    f"{own} contains the address {inside} of node {node.name}: {fix}",
                    blocking=True,
                )
                break


def _overlap(a: IPNetwork, b: IPNetwork) -> bool:
    return (
        a.version == b.version
        and int(a.network_address) <= int(b.broadcast_address)
        and int(b.network_address) <= int(a.broadcast_address)
    )


def _port_conflicts(own: WgMeshSpec, theirs: WgMeshSpec) -> Iterator[tuple[str, int, str]]:
    for (protocol, port), field in _node_ports(own).items():
        other = _node_ports(theirs).get((protocol, port)) or _mesh_ports(theirs).get((protocol, port))
        if other is not None:
            yield field, port, other
    # those of gossip are on mesh addresses only, which no two meshes share
    for (protocol, port), field in _mesh_ports(own).items():
        other = _node_ports(theirs).get((protocol, port))
        if other is not None:
            yield field, port, other


def _node_ports(spec: WgMeshSpec) -> dict[tuple[str, int], str]:
    """Ports on all of a node's addresses."""
    return {
        ("TCP", spec.bootstrap.port): "bootstrap.port",
        ("UDP", spec.wireguard.port): "wireguard.port",
        ("TCP", spec.agent.metrics_port): "agent.metricsPort",
    }


def _mesh_ports(spec: WgMeshSpec) -> dict[tuple[str, int], str]:
    """Ports on mesh addresses only."""
    gossip = spec.gossip.port
    return {
        ("TCP", gossip): "gossip.port",
        ("UDP", gossip): "gossip.port",
        ("UDP", gossip + 1): "gossip.port + 1",
    }
