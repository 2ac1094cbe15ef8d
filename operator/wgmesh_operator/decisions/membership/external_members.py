"""Status of external members, from the reports of bootstrap nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from wgmesh_api.fields import write_time
from wgmesh_api.report import ExternalReport, NodeReport
from wgmesh_api.roster import API_VERSION
from wgmesh_operator.decisions.actions import Apply, Kind
from wgmesh_operator.decisions.faults import Border, Faults
from wgmesh_operator.decisions.membership.spec_conflicts import SpecConflict
from wgmesh_operator.decisions.model import Member

MESSAGE_LIMIT = 1024


def plan_external_member_statuses(
    members: Mapping[str, Member], refused: Mapping[str, SpecConflict], now: datetime, faults: Faults
) -> list[Apply]:
    """The statuses that differ from the current ones. `refused`: those that are not members, and why."""
    outside = [member for member in members.values() if member.roster.external and not member.roster.deleting]
    if not outside:
        return []
    known = reports_by_external_member(members)
    unheard: dict[str, int] = {}
    joined = 0
    for member in members.values():
        report = member.roster.report
        joined += report.phase == "Joined"
        for peer_name, _problem in report.worst:
            unheard[peer_name] = unheard.get(peer_name, 0) + 1
    actions = []
    for member in outside:
        name = member.roster.node
        with faults.fence(Border.EXTERNAL_STATUS, member.roster.name):
            report = _report(member, known.get(name, []), joined, unheard.get(name, 0), now)
            if name in refused:
                why = refused[name]
                report = replace(
                    report, ready=False, ready_reason=why.reason, ready_message=why.message[:MESSAGE_LIMIT]
                )
            status = _status(report)
            if status != _status(member.roster.report):
                actions.append(_apply(member.roster.name, status))
    return actions


def _apply(name: str, status: dict[str, Any]) -> Apply:
    manifest = {
        "apiVersion": API_VERSION,
        "kind": Kind.MEMBER.value,
        "metadata": {"name": name},
        "status": status,
    }
    return Apply(Kind.MEMBER, manifest, "status")


def reports_by_external_member(members: Mapping[str, Member]) -> dict[str, list[ExternalReport]]:
    """The reports of bootstrap nodes on each external member; a report on an earlier one of its name is ignored.

    The spec, which only the operator writes for nodes of the cluster, determines which members may report: the status
    is an agent's claim, and any agent can write one.
    """
    known: dict[str, list[ExternalReport]] = {}
    for member in members.values():
        if not member.roster.bootstrap or member.roster.external or member.roster.deleting:
            continue
        for peer in member.roster.report.externals:
            about = members.get(peer.node)
            if about is not None and about.roster.uid == peer.uid:
                known.setdefault(peer.node, []).append(peer)
    return known


def _report(
    member: Member, known: list[ExternalReport], joined: int, unheard: int, now: datetime
) -> NodeReport:
    before = member.roster.report
    has_joined = bool(known) or before.phase == "Joined"
    heard = any(peer.heard for peer in known)
    # liveness through a tunnel is mutual: what peers receive of it corresponds to what it receives of them
    others = joined - (before.phase == "Joined")
    if heard:
        reason, message = "Joined", "at least one bootstrap node reaches it"
    elif has_joined:
        reason, message = "Unreachable", "no bootstrap node receives from it"
    else:
        reason, message = "NotJoined", "it has not joined yet: copy its join bundle to the machine"
    return NodeReport(
        phase="Joined" if has_joined else "Pending",
        public_key=_latest(peer.public_key for peer in known) or before.public_key,
        endpoint=_latest(peer.endpoint for peer in known) or before.endpoint,
        secret_ids=next((peer.secret_ids for peer in known if peer.secret_ids), ()),
        heard=max(0, others - unheard) if heard else 0,
        expected=others,
        ready=heard,
        ready_reason=reason,
        ready_message=message,
        ready_since=before.ready_since if before.ready_since and before.ready == heard else now,
    )


def _latest(values: Any) -> str:
    return next((value for value in values if value), "")


def _status(report: NodeReport) -> dict[str, Any]:
    status = report.to_status()
    if report.ready_since is None:
        return status
    status["conditions"][0]["lastTransitionTime"] = write_time(report.ready_since)
    return status
