"""Members that take part in a rotation: those that have joined, on ready nodes of the cluster."""

from __future__ import annotations

from wgmesh_operator.decisions.model import ClusterState, Member


def live_members(mesh: str, state: ClusterState) -> dict[str, Member]:
    """The live members of `mesh`, by node. External members are excluded: they catch up when they can."""
    return {
        name: member
        for name, member in state.members.get(mesh, {}).items()
        if not member.roster.external
        and (node := state.nodes.get(name)) is not None
        and node.ready
        and member.roster.report.phase == "Joined"
    }
