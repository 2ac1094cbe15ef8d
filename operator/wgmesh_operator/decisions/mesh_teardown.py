"""Teardown of a mesh: members leave, then the objects created for it are deleted, then its finalizer is removed.

Each step is derived from the cluster: the remaining objects determine the next one. No step waits indefinitely: members
have LEAVE_DEADLINE, pods POD_TERMINATION_DEADLINE more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from wgmesh_api.roster import API_VERSION, agent_service_account
from wgmesh_api.text import shortened
from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Action, Apply, Delete, Json, Kind, SetFinalizers
from wgmesh_operator.decisions.membership.member_release import LEAVE_DEADLINE, plan_member_release
from wgmesh_operator.decisions.model import AnyMesh, ClusterState, Member
from wgmesh_operator.decisions.status.conditions import Condition, with_transition_times

POD_TERMINATION_DEADLINE = timedelta(seconds=60)
"""Deadline for the termination of agent pods after their DaemonSet is deleted."""
MAX_NAMED = 5
"""How many members a condition names."""


@dataclass(frozen=True, slots=True)
class TeardownPlan:
    """`status` is the mesh's during the teardown; None: unchanged."""

    actions: list[Action] = field(default_factory=list)
    status: Json | None = None
    requeue_at: datetime | None = None


def plan_teardown(mesh: AnyMesh, state: ClusterState, now: datetime) -> TeardownPlan:
    """The next steps of removing `mesh`, which is being deleted."""
    deleting_since = mesh.metadata.deleting_since
    if deleting_since is None or names.MESH_FINALIZER not in mesh.metadata.finalizers:
        return TeardownPlan()
    members = state.members.get(mesh.name, {})
    if members:
        return _release_members(mesh, members, state, now)
    daemons = [
        state.daemon_sets[name]
        for name in (names.agent_daemon_set(mesh.name), names.tunnel_daemon_set(mesh.name))
        if name in state.daemon_sets
    ]
    give_up_at = deleting_since + LEAVE_DEADLINE + POD_TERMINATION_DEADLINE
    if daemons and now < give_up_at:
        actions: list[Action] = [
            Delete(Kind.DAEMON_SET, d["metadata"]["name"], d["metadata"]["uid"], wait_for_owned=True)
            for d in daemons
            if not d["metadata"].get("deletionTimestamp")
        ]
        return TeardownPlan(
            actions, _status(mesh, "PodsTerminating", "agent pods are terminating", now), give_up_at
        )
    rest = tuple(name for name in mesh.metadata.finalizers if name != names.MESH_FINALIZER)
    return TeardownPlan(
        [
            *(
                Delete(Kind.SECRET, secret.name, secret.uid)
                for secret in state.secrets.values()
                if secret.mesh == mesh.name
            ),
            Delete(Kind.SERVICE_ACCOUNT, agent_service_account(mesh.name)),
            Delete(Kind.BINDING, names.agent_binding(mesh.name)),
            SetFinalizers(Kind.MESH, mesh.name, rest, mesh.metadata.resource_version),
        ]
    )


def plan_orphans(
    mesh: str, members: Mapping[str, Member], state: ClusterState, now: datetime
) -> TeardownPlan:
    """Actions on members of a mesh that does not exist: those of the cluster are deleted, the condition of external
    ones reports it.
    """
    actions: list[Action] = []
    for member in members.values():
        if not member.roster.external and not member.roster.deleting:
            actions.append(Delete(Kind.MEMBER, member.roster.name, member.roster.uid))
        if (
            member.roster.external
            and not member.roster.deleting
            and member.roster.report.ready_reason != "MeshNotFound"
        ):
            actions.append(
                Apply(
                    Kind.MEMBER,
                    {
                        "apiVersion": API_VERSION,
                        "kind": Kind.MEMBER.value,
                        "metadata": {"name": member.roster.name},
                        "status": {
                            "phase": "Pending",
                            "conditions": with_transition_times(
                                [Condition("Ready", False, "MeshNotFound", f"there is no WgMesh {mesh}")],
                                {},
                                0,
                                now,
                            ),
                        },
                    },
                    "status",
                )
            )
    leaving = plan_member_release(members.values(), state.nodes, has_agents=False, now=now)
    return TeardownPlan([*actions, *leaving.actions], None, leaving.requeue_at)


def _release_members(
    mesh: AnyMesh, members: Mapping[str, Member], state: ClusterState, now: datetime
) -> TeardownPlan:
    actions: list[Action] = [
        Delete(Kind.MEMBER, member.roster.name, member.roster.uid)
        for member in members.values()
        if not member.roster.deleting
    ]
    has_agents = names.agent_daemon_set(mesh.name) in state.daemon_sets
    leaving = plan_member_release(members.values(), state.nodes, has_agents=has_agents, now=now)
    waiting = shortened(leaving.waiting_for, MAX_NAMED)
    message = f"waiting for {waiting} to leave" if waiting else "members are leaving"
    return TeardownPlan(
        [*actions, *leaving.actions], _status(mesh, "MembersLeaving", message, now), leaving.requeue_at
    )


def _status(mesh: AnyMesh, reason: str, message: str, now: datetime) -> Json:
    judgements = [
        Condition("Ready", False, reason, message),
        Condition("FullyMeshed", False, reason, message),
    ]
    kept = {key: value for key, value in mesh.status.items() if key != "conditions"}
    return {
        **kept,
        "observedGeneration": mesh.metadata.generation,
        "conditions": with_transition_times(judgements, mesh.status, mesh.metadata.generation, now),
    }
