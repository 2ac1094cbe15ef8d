"""Subnet routes of each member: its pods' ranges, and those in the mesh's spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from wgmesh_api.fields import IPNetwork
from wgmesh_operator.decisions.cluster_node import ClusterNode
from wgmesh_operator.decisions.membership.spec_conflicts import SpecConflict
from wgmesh_operator.decisions.model import Mesh

Routes = Mapping[str, tuple[IPNetwork, ...]]


def plan_routes(
    mesh: Mesh, nodes: Mapping[str, ClusterNode], names: AbstractSet[str]
) -> tuple[Routes, list[SpecConflict]]:
    """The routes of each of the members called `names`, and those that no member gets because they overlap.

    Pods' ranges take precedence over networks of the spec, and those are in their order.
    """
    given: dict[str, list[IPNetwork]] = {}
    conflicts: list[SpecConflict] = []
    held = [(network, "the mesh's own range") for network in mesh.cidrs]
    for name, network in _asked(mesh, nodes, names):
        other = next(
            (what for one, what in held if one.version == network.version and one.overlaps(network)), None
        )
        if other is not None:
            conflicts.append(
                SpecConflict(
                    "RouteOverlap",
                    (
                        f"{network} of {name} is not routed because it overlaps {other}: choose "
                        "another network"
                    ),
                )
            )
            continue
        held.append((network, f"{network} of {name}"))
        given.setdefault(name, []).append(network)
    return {name: tuple(networks) for name, networks in given.items()}, conflicts


def _asked(
    mesh: Mesh, nodes: Mapping[str, ClusterNode], names: AbstractSet[str]
) -> Iterable[tuple[str, IPNetwork]]:
    if mesh.spec.routes.pod_cidrs:
        for name in sorted(names & nodes.keys()):
            yield from ((name, network) for network in nodes[name].pod_cidrs)
    for entry in mesh.routes:
        if entry.node in names:
            yield from ((entry.node, network) for network in entry.networks)
