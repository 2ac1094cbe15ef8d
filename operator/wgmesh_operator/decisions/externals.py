"""Machines outside the cluster: their status, from what the bootstrap nodes say of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wgmesh_api.fields import write_time
from wgmesh_api.report import ExternalReport, NodeReport
from wgmesh_api.roster import API_VERSION
from wgmesh_operator.decisions.actions import Apply, Kind
from wgmesh_operator.decisions.model import Member


def plan_external_statuses(members: Mapping[str, Member], now: datetime) -> list[Apply]:
    """The statuses that differ from what is known now."""
    outside = [member for member in members.values() if member.roster.external and not member.roster.deleting]
    if not outside:
        return []
    known = reports_on_externals(members)
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
        report = _report(member, known.get(name, []), joined, unheard.get(name, 0), now)
        status = _status(report)
        if status != _status(member.roster.report):
            actions.append(
                Apply(
                    Kind.MEMBER,
                    {
                        "apiVersion": API_VERSION,
                        "kind": Kind.MEMBER.value,
                        "metadata": {"name": member.roster.name},
                        "status": status,
                    },
                    "status",
                )
            )
    return actions


def reports_on_externals(members: Mapping[str, Member]) -> dict[str, list[ExternalReport]]:
    """What bootstrap nodes say of each machine outside. What they say of an earlier one of its name is not of it."""
    known: dict[str, list[ExternalReport]] = {}
    for member in members.values():
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
    # hearing goes both ways through a tunnel, so what the others hear of it is what it hears of them
    others = joined - (before.phase == "Joined")
    if heard:
        reason, message = "Joined", ""
    elif has_joined:
        reason, message = "NotHeard", "no bootstrap node hears it"
    else:
        reason, message = "NotJoined", "it has not entered yet: hand its join bundle to it"
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
