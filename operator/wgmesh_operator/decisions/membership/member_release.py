"""Releases WgMeshNodes: when the agent has left, when it cannot, or after a deadline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from wgmesh_api.roster import LEAVE_FINALIZER
from wgmesh_operator.decisions.actions import Action, Kind, SetFinalizers
from wgmesh_operator.decisions.cluster_node import ClusterNode
from wgmesh_operator.decisions.model import Member

LEAVE_DEADLINE = timedelta(seconds=60)
"""How long an agent may take to leave gracefully before its WgMeshNode is released without that."""


@dataclass(frozen=True, slots=True)
class MemberReleasePlan:
    """`waiting_for`: nodes whose agents have not left yet."""

    actions: list[Action]
    waiting_for: list[str]
    requeue_at: datetime | None


def plan_member_release(
    members: Iterable[Member], nodes: Mapping[str, ClusterNode], *, has_agents: bool, now: datetime
) -> MemberReleasePlan:
    """Releases the members that can be released. `has_agents`: the mesh's agents are deployed."""
    actions: list[Action] = []
    waiting: list[str] = []
    requeue_at: datetime | None = None
    for member in members:
        since = member.roster.deleting_since
        if since is None or LEAVE_FINALIZER not in member.finalizers:
            continue
        if _can_be_released(member, nodes, has_agents=has_agents) or now >= since + LEAVE_DEADLINE:
            rest = tuple(name for name in member.finalizers if name != LEAVE_FINALIZER)
            actions.append(SetFinalizers(Kind.MEMBER, member.roster.name, rest, member.resource_version))
        else:
            waiting.append(member.roster.node)
            end = since + LEAVE_DEADLINE
            requeue_at = end if requeue_at is None or end < requeue_at else requeue_at
    return MemberReleasePlan(actions, sorted(waiting), requeue_at)


def _can_be_released(member: Member, nodes: Mapping[str, ClusterNode], *, has_agents: bool) -> bool:
    roster = member.roster
    # an external machine is isolated by the other members; it has no access to the API to report its leave
    return roster.external or not has_agents or roster.node not in nodes or roster.report.phase == "Left"
