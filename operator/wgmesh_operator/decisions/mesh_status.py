"""The status of one mesh, from the results of a pass, and the Events that report its changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wgmesh_api.fields import IPAddress, read_time, read_unix_time, write_time
from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Action, Json
from wgmesh_operator.decisions.membership.live_members import live_members
from wgmesh_operator.decisions.membership.spec_conflicts import SpecConflict
from wgmesh_operator.decisions.model import AnyMesh, ClusterState, Mesh
from wgmesh_operator.decisions.status.conditions import (
    STARTUP_GRACE,
    StatusInputs,
    evaluate,
    member_news,
    transition_events,
    with_transition_times,
)
from wgmesh_operator.decisions.status.mesh_summary import summarize
from wgmesh_operator.decisions.trust.authority import Authority
from wgmesh_operator.decisions.trust.gossip_key import key_created_at
from wgmesh_operator.decisions.trust.wireguard_keys import summarize_keys


@dataclass(frozen=True, slots=True)
class MeshFindings:
    """The results of a pass over a mesh. The defaults are those of a mesh that is not deployed.

    `selected` are the nodes of the mesh, `bootstraps` those selected as bootstrap nodes; `authority_error` is a
    sentence or empty.
    """

    conflicts: Sequence[SpecConflict]
    selected: AbstractSet[str] = frozenset()
    bootstraps: AbstractSet[str] = frozenset()
    authority: Authority | None = None
    authority_error: str = ""
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class StatusPlan:
    """`requeue_at`: when the status changes without another change."""

    status: Json
    events: list[Action]
    requeue_at: datetime | None


def plan_status(mesh: AnyMesh, state: ClusterState, findings: MeshFindings, now: datetime) -> StatusPlan:
    """The status that `mesh` should have now."""
    created, generation = mesh.metadata.created, mesh.metadata.generation
    members = state.members.get(mesh.name, {})
    counted = summarize(findings.selected, members, state.nodes, findings.bootstraps, now)
    daemon_set = state.daemon_sets.get(names.agent_daemon_set(mesh.name)) or {}
    live_status: Mapping[str, Any] = daemon_set.get("status") or {}
    first_meshed = first_meshed_at(mesh.status) or (now if counted.fully_meshed else None)
    starting = first_meshed is None and now < created + STARTUP_GRACE
    inputs = StatusInputs(
        summary=counted,
        conflicts=findings.conflicts,
        blocked=findings.blocked,
        agents=(live_status.get("numberReady", 0), live_status.get("desiredNumberScheduled", 0)),
        bootstraps_wanted=mesh.spec.bootstrap.replicas if isinstance(mesh, Mesh) else 0,
        authority_error=findings.authority_error,
        ca_rotating=findings.authority is not None and findings.authority.rotating,
        starting=starting,
    )
    conditions = with_transition_times(evaluate(inputs), mesh.status, generation, now)
    live = live_members(mesh.name, state)
    keys = summarize_keys(mesh, [member.roster.report for member in live.values()])
    made = key_created_at(mesh, state.secrets.get(names.gossip_secret(mesh.name)))
    bundle = findings.authority.trust_bundle if findings.authority else mesh.status.get("trustBundle")
    status: Json = {
        "observedGeneration": generation,
        "nodes": f"{counted.ready}/{counted.nodes}",
        "links": f"{counted.links_up}/{counted.links}",
        "desiredNodes": counted.nodes,
        "readyNodes": counted.ready,
        "bootstraps": (
            bootstrap_statuses(mesh, state, findings.bootstraps) if isinstance(mesh, Mesh) else []
        ),
        **({"trustBundle": bundle} if bundle else {}),
        "creationTime": write_time(created),
        # agents of the previous release read it
        "createdAt": int(created.timestamp()),
        **({"firstMeshedTime": write_time(first_meshed)} if first_meshed is not None else {}),
        **({"gossipKeyCreatedAt": write_time(made)} if made is not None else {}),
        **({"oldestWireguardKey": write_time(keys.oldest)} if keys.oldest is not None else {}),
        **({"lastHandledRotation": keys.rotated_for} if keys.rotated_for else {}),
        "downLinks": list(counted.links_down.names),
        "conditions": conditions,
    }
    events = [*transition_events(mesh, conditions), *member_news(mesh, findings.conflicts), *keys.news]
    return StatusPlan(status, list(events), created + STARTUP_GRACE if starting else None)


def first_meshed_at(status: Mapping[str, Any]) -> datetime | None:
    """When all links were up for the first time, as written by this operator or the previous release's."""
    return read_time(status.get("firstMeshedTime")) or read_unix_time(status.get("firstMeshedAt"))


def bootstrap_statuses(mesh: Mesh, state: ClusterState, bootstraps: AbstractSet[str]) -> list[Json]:
    """The addresses of bootstrap nodes in the order in which joiners try them: serving ones first."""
    port, members = mesh.spec.bootstrap.port, state.members.get(mesh.name, {})
    found = []
    for name in bootstraps:
        node, member = state.nodes.get(name), members.get(name)
        if node is None or not node.addresses.every:
            continue
        report = member.roster.report if member is not None else None
        joined = report is not None and report.phase == "Joined" and not report.not_serving
        reached = [
            _host_port(a, port) for a in (*node.addresses.internal[:1], node.addresses.outer) if a is not None
        ]
        outer = {"outerAddress": reached[1]} if len(reached) > 1 else {}
        found.append((not joined, name, {"node": name, "address": reached[0], **outer}))
    return [item for _, _, item in sorted(found, key=lambda entry: entry[:2])]


def _host_port(address: IPAddress, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
