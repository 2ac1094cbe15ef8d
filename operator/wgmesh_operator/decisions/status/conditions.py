"""A WgMesh's status: counts, bootstrap nodes, CA certificates, and five conditions with reason and message.

| condition | True when |
|---|---|
| Ready | every live node has joined, and a bootstrap node is ready |
| CertificatesReady | every member has a valid certificate |
| FullyMeshed | every member is ready and all links are up |
| Degraded | intervention is required, or a node is down |
| MTUMismatch | the path MTU to some peers is below the interface MTU |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from wgmesh_api.fields import read_list, read_text, write_time
from wgmesh_operator.decisions.actions import Emit, Json, Kind
from wgmesh_operator.decisions.membership.spec_conflicts import SpecConflict
from wgmesh_operator.decisions.model import AnyMesh
from wgmesh_operator.decisions.status.mesh_summary import MeshSummary

_MESSAGE_LIMIT = 1024
STARTUP_GRACE = timedelta(minutes=2)
"""How long pods that are not running yet and links that are not up yet are no problem in a mesh that was never
complete.
"""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition before it has a time; its message is never empty."""

    type: str
    is_true: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class StatusInputs:
    """Inputs of the conditions.

    `agents` are (ready, desired) pods; `authority_error` is a sentence or empty. `starting`: new, and never complete
    yet.
    """

    summary: MeshSummary
    conflicts: Sequence[SpecConflict]
    blocked: bool
    agents: tuple[int, int]
    bootstraps_wanted: int
    authority_error: str = ""
    ca_rotating: bool = False
    starting: bool = False


def evaluate(inputs: StatusInputs) -> list[Condition]:
    return [
        _ready(inputs),
        _certificates_ready(inputs),
        _fully_meshed(inputs),
        _degraded(inputs),
        _mtu_mismatch(inputs),
    ]


def _ready(inputs: StatusInputs) -> Condition:
    summary, kind = inputs.summary, "Ready"
    if inputs.blocked:
        conflict = next(p for p in inputs.conflicts if p.blocking)
        return Condition(kind, False, conflict.reason, conflict.message)
    if inputs.authority_error:
        return Condition(kind, False, "CAUnusable", inputs.authority_error)
    if summary.nodes == 0:
        return Condition(kind, False, "NoNodes", "no node matches nodeSelector and tolerations")
    if summary.not_joined:
        joined = summary.nodes - summary.not_joined.count
        return Condition(
            kind,
            False,
            "NodesJoining",
            f"{joined} of {summary.nodes} have joined; waiting for {summary.not_joined}",
        )
    if summary.ready_bootstraps == 0:
        return Condition(kind, False, "NoBootstrap", "no bootstrap node is ready: nodes cannot join")
    return Condition(kind, True, "NodesJoined", f"{summary.ready} of {summary.nodes} members are ready")


def _certificates_ready(inputs: StatusInputs) -> Condition:
    summary, kind = inputs.summary, "CertificatesReady"
    if inputs.authority_error:
        return Condition(kind, False, "CAUnusable", inputs.authority_error)
    if inputs.blocked:
        return Condition(kind, False, "Blocked", "the mesh is not deployed: see Degraded")
    if summary.certificates_expired:
        return Condition(
            kind, False, "CertificatesExpired", f"certificates of {summary.certificates_expired} have expired"
        )
    if summary.certificates_missing:
        return Condition(
            kind,
            False,
            "CertificatesPending",
            (f"waiting for certificates of {summary.certificates_missing}"),
        )
    if inputs.ca_rotating:
        return Condition(kind, True, "CARotating", "all certificates are issued; CA rotation in progress")
    return Condition(kind, True, "CertificatesIssued", "all certificates are issued")


def _fully_meshed(inputs: StatusInputs) -> Condition:
    summary, kind = inputs.summary, "FullyMeshed"
    if inputs.blocked or summary.nodes == 0:
        return Condition(kind, False, "NoNodes", "there are no members")
    if summary.fully_meshed:
        relayed = f", {summary.relayed} of them via a relay" if summary.relayed else ""
        return Condition(kind, True, "AllLinksUp", f"{summary.links_up} of {summary.links} links{relayed}")
    missing = summary.links - summary.links_up
    if summary.not_joined:
        return Condition(kind, False, "NodesJoining", f"waiting for {summary.not_joined}")
    if summary.down:
        return Condition(kind, False, "NodesDown", f"{summary.down} down; {missing} links are down")
    if inputs.starting:
        return Condition(kind, False, "LinksPending", f"{missing} of {summary.links} links are not up yet")
    named = f": {summary.links_down}" if summary.links_down else ""
    return Condition(kind, False, "LinksDown", f"{missing} links are down{named}")


def _degraded(inputs: StatusInputs) -> Condition:
    summary, kind = inputs.summary, "Degraded"
    if inputs.conflicts:
        first = inputs.conflicts[0]
        message = "; ".join(conflict.message for conflict in inputs.conflicts)
        return Condition(kind, True, first.reason, message)
    if inputs.authority_error:
        return Condition(kind, True, "CAUnusable", inputs.authority_error)
    if summary.certificates_expired:
        return Condition(
            kind, True, "CertificatesExpired", f"certificates of {summary.certificates_expired} have expired"
        )
    if summary.down:
        return Condition(kind, True, "NodesDown", f"{summary.down} down")
    if inputs.starting:
        return Condition(kind, False, "AsExpected", "no intervention is required")
    ready, wanted = inputs.agents
    if ready < wanted:
        return Condition(kind, True, "AgentsNotReady", f"{ready} of {wanted} agents are ready")
    if 0 < summary.ready_bootstraps < min(inputs.bootstraps_wanted, summary.nodes):
        return Condition(
            kind,
            True,
            "BootstrapsBelowDesired",
            f"{summary.ready_bootstraps} of {inputs.bootstraps_wanted} bootstrap nodes are ready",
        )
    return Condition(kind, False, "AsExpected", "no intervention is required")


def _mtu_mismatch(inputs: StatusInputs) -> Condition:
    narrow, kind = inputs.summary.reduced_mtu, "MTUMismatch"
    if narrow:
        return Condition(
            kind,
            True,
            "PathMTUReduced",
            (f"the path MTU to {narrow.count} peers is below the interface MTU: {narrow}"),
        )
    return Condition(kind, False, "PathMTUSufficient", "the path MTU to all peers is that of the interfaces")


def condition_of(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of type `kind` in a status; empty if there is none."""
    found = (one for one in read_list(status, "conditions") if isinstance(one, Mapping))
    return next((one for one in found if one.get("type") == kind), {})


def with_transition_times(
    evaluated: Sequence[Condition], before: Mapping[str, Any], generation: int, now: datetime
) -> list[Json]:
    """Conditions as the API has them: the time of those whose status has not changed is kept."""
    conditions = []
    for condition in evaluated:
        status = "True" if condition.is_true else "False"
        previous = condition_of(before, condition.type)
        since = previous.get("lastTransitionTime") if previous.get("status") == status else None
        conditions.append(
            {
                "type": condition.type,
                "status": status,
                "reason": condition.reason,
                "message": condition.message[:_MESSAGE_LIMIT],
                "observedGeneration": generation,
                "lastTransitionTime": since or write_time(now),
            }
        )
    return conditions


def transition_events(mesh: AnyMesh, conditions: Sequence[Json]) -> list[Emit]:
    """Events for changes since the current status of the mesh: derived from it only, so a restart repeats none."""
    events: dict[str, Emit] = {}
    for condition in conditions:
        previous = condition_of(mesh.status, condition["type"])
        is_bad = condition["type"] in _NEGATIVE_POLARITY
        good = (condition["status"] == "True") != is_bad
        same_status = previous.get("status") == condition["status"]
        if same_status and (good or previous.get("reason") == condition["reason"]):
            continue
        if not previous and good == is_bad:
            # a new mesh is not ready yet, and not degraded: that is no change
            continue
        reason = _event_reason(condition)
        message = condition["message"] or condition["reason"]
        warning = not good and condition["reason"] not in _TRANSIENT_REASONS
        events.setdefault(reason, Emit(Kind.MESH, mesh.name, mesh.uid, reason, message, warning))
    return list(events.values())


def failed_pass(mesh: AnyMesh, why: str, now: datetime) -> tuple[Json, Emit]:
    """The status and the Event of a mesh whose pass ends with an exception: the rest of the status stays."""
    message = f"the operator cannot reconcile this mesh: {why}: report this, with the operator's log"
    condition = Condition("Degraded", True, "PassFailed", message)
    others = [
        one
        for one in read_list(mesh.status, "conditions")
        if isinstance(one, Mapping) and one.get("type") != condition.type
    ]
    conditions = [*others, *with_transition_times([condition], mesh.status, mesh.metadata.generation, now)]
    event = Emit(Kind.MESH, mesh.name, mesh.uid, condition.reason, message[:_MESSAGE_LIMIT], warning=True)
    return {**mesh.status, "conditions": conditions}, event


def member_news(mesh: AnyMesh, conflicts: Sequence[SpecConflict]) -> list[Emit]:
    """Events on the WgMeshNodes at fault, unless the mesh's current condition names them already."""
    before = read_text(condition_of(mesh.status, "Degraded"), "message")
    return [
        Emit(Kind.MEMBER, one.member, one.uid, one.reason, one.message[:_MESSAGE_LIMIT], warning=True)
        for one in conflicts
        if one.member and one.uid and one.message not in before
    ]


_NEGATIVE_POLARITY = frozenset({"Degraded", "MTUMismatch"})
_TRANSIENT_REASONS = frozenset({"NodesJoining", "CertificatesPending", "LinksPending", "PathMTUReduced"})


def _event_reason(condition: Json) -> str:
    if condition["type"] == "Degraded":
        return str(condition["reason"]) if condition["status"] == "True" else "Recovered"
    if condition["type"] in _NEGATIVE_POLARITY:
        return str(condition["reason"])
    if condition["status"] == "True":
        return str(condition["type"])
    return str(condition["reason"])
