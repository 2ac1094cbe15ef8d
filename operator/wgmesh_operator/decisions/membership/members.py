"""A mesh's WgMeshNodes: one for each of its nodes and each external machine, with address and role."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime

from wgmesh_api.fields import IPAddress, IPNetwork
from wgmesh_api.names import is_node_name
from wgmesh_api.roster import (
    API_VERSION,
    ENDPOINT,
    LEAVE_FINALIZER,
    MESH_LABEL,
    AddressHolders,
    node_object_name,
)
from wgmesh_operator.decisions.actions import Action, Apply, Delete, Emit, Json, Kind
from wgmesh_operator.decisions.cluster_node import NODE_KIND, ClusterNode
from wgmesh_operator.decisions.faults import Border, Faults
from wgmesh_operator.decisions.membership import bootstraps
from wgmesh_operator.decisions.membership.addresses import RangeExhausted, allocate, usable
from wgmesh_operator.decisions.membership.routes import plan_routes
from wgmesh_operator.decisions.membership.spec_conflicts import SpecConflict
from wgmesh_operator.decisions.model import ClusterState, Member, Mesh


@dataclass(frozen=True, slots=True)
class MembersPlan:
    """Actions on WgMeshNodes.

    `bootstraps` are the names selected as bootstrap nodes; `refused` those whose WgMeshNode claims properties of
    another, and why.
    """

    actions: list[Action] = field(default_factory=list)
    conflicts: list[SpecConflict] = field(default_factory=list)
    bootstraps: frozenset[str] = frozenset()
    requeue_at: datetime | None = None
    refused: dict[str, SpecConflict] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _DesiredMember:
    node: str
    addresses: tuple[IPAddress, ...]
    bootstrap: bool
    external: bool
    endpoint_hint: IPAddress | None
    routes: tuple[IPNetwork, ...] = ()


def plan_members(
    mesh: Mesh,
    state: ClusterState,
    members: Mapping[str, Member],
    selected: AbstractSet[str],
    now: datetime,
    faults: Faults,
) -> MembersPlan:
    """Creates missing members, corrects those that differ, deletes those without a node.

    Members whose own object or node cannot be decoded stay unchanged.

    Args:
        members: those of `mesh`.
        selected: the nodes of `mesh`.
    """
    plan, nodes = MembersPlan(), state.nodes
    nameable = {name for name in selected if is_node_name(name)}
    if nameable != selected:
        odd = sorted(selected - nameable)
        plan.conflicts.append(
            SpecConflict(
                "NodeNameTooLong",
                f"{len(odd)} nodes such as {odd[0]} have names that do not fit into a certificate (over 64 "
                "characters): exclude them by nodeSelector",
            )
        )
    externals = {name for name, member in members.items() if member.roster.external}
    routes, overlapping = plan_routes(mesh, nodes, nameable | externals)
    plan.conflicts.extend(overlapping)
    chosen, requeue_at = _choose_bootstraps(mesh, nodes, members, nameable, now)
    plan.conflicts.extend(_idle_bootstraps(members, chosen))
    plan.conflicts.extend(_without_metrics(members))
    plan.conflicts.extend(
        SpecConflict(
            "EndpointUnusable", f"annotation {ENDPOINT} of Node {name}: {nodes[name].addresses.error}"
        )
        for name in sorted(nameable)
        if nodes[name].addresses.error
    )
    holders = AddressHolders(member.roster for member in members.values())
    taken = holders.addresses()
    unread = state.unread(Kind.MEMBER)
    for name in sorted(nameable | externals):
        object_name = node_object_name(mesh.name, name)
        if name not in members and object_name in unread:
            continue
        with faults.fence(Border.MEMBER, object_name):
            member = members.get(name)
            if member is not None and member.roster.deleting:
                continue
            conflict = _member_conflict(mesh, member, holders, is_node=name in nameable) if member else None
            if member is not None and conflict is not None:
                plan.conflicts.append(conflict)
                plan.refused[name] = conflict
                _plan_refused(plan, mesh, member)
                continue
            addresses = _addresses_of(plan, mesh, name, member, taken)
            if addresses:
                node = nodes.get(name)
                desired = _DesiredMember(
                    name,
                    addresses,
                    bootstrap=name in chosen,
                    external=name in externals,
                    endpoint_hint=node.addresses.outer if node is not None else None,
                    routes=routes.get(name, ()),
                )
                _plan_member(plan, mesh, member, desired)
    unread_nodes = state.unread(NODE_KIND)
    for name, member in members.items():
        if member.roster.external or member.roster.deleting or name in nameable or name in unread_nodes:
            continue
        plan.actions.append(Delete(Kind.MEMBER, member.roster.name, member.roster.uid))
    return MembersPlan(plan.actions, plan.conflicts, chosen, requeue_at, plan.refused)


def _choose_bootstraps(
    mesh: Mesh,
    nodes: Mapping[str, ClusterNode],
    members: Mapping[str, Member],
    names: AbstractSet[str],
    now: datetime,
) -> tuple[frozenset[str], datetime | None]:
    candidates, requeue_at = [], None
    for name in names:
        node, member = nodes[name], members.get(name)
        if member is not None and member.roster.deleting:
            continue
        current = member is not None and member.roster.bootstrap
        candidates.append(
            bootstraps.Candidate(
                name=name,
                zone=node.zone,
                alive=bootstraps.is_alive(node, now),
                ready=node.ready,
                joined=member is not None and member.roster.report.phase == "Joined",
                current=current,
                serving=member is None or not member.roster.report.not_serving,
            )
        )
        gone = bootstraps.replaceable_at(node) if current else None
        if gone is not None and gone > now and (requeue_at is None or gone < requeue_at):
            requeue_at = gone
    return bootstraps.choose(candidates, mesh.spec.bootstrap.replicas), requeue_at


def _addresses_of(
    plan: MembersPlan, mesh: Mesh, name: str, member: Member | None, taken: set[IPAddress]
) -> tuple[IPAddress, ...]:
    """The addresses that the member has, or gets now; none: a range is exhausted, which is a conflict."""
    if member is not None and member.roster.addresses:
        return member.roster.addresses
    try:
        addresses = allocate(node_object_name(mesh.name, name), mesh.cidrs, taken)
    except RangeExhausted as error:
        plan.conflicts.append(
            SpecConflict(
                "AddressesExhausted",
                f"no address for {name}: {error}; remove nodes, or create a mesh with a larger range",
            )
        )
        return ()
    taken.update(addresses)
    return addresses


def _plan_member(plan: MembersPlan, mesh: Mesh, member: Member | None, desired: _DesiredMember) -> None:
    if member is not None and _matches_desired_spec(mesh, member, desired):
        return
    plan.actions.append(Apply(Kind.MEMBER, member_manifest(mesh, desired)))
    if member is not None and member.roster.bootstrap != desired.bootstrap:
        verb = "is now a bootstrap node" if desired.bootstrap else "is no longer a bootstrap node"
        reason = member.roster.report.not_serving
        why = f": {reason}" if reason and not desired.bootstrap else ""
        plan.actions.append(
            Emit(
                Kind.MESH,
                mesh.name,
                mesh.uid,
                "BootstrapsChanged",
                f"{desired.node} {verb}{why}",
                warning=False,
            )
        )


def _idle_bootstraps(members: Mapping[str, Member], chosen: AbstractSet[str]) -> list[SpecConflict]:
    return [
        SpecConflict(
            "BootstrapNotServing",
            f"bootstrap node {name} admits no joiners: {reason}: free the port, or set spec.bootstrap.port",
        )
        for name in sorted(chosen & members.keys())
        if (reason := members[name].roster.report.not_serving)
    ]


def _without_metrics(members: Mapping[str, Member]) -> list[SpecConflict]:
    """A member that has left reports nothing more."""
    return [
        SpecConflict(
            "MetricsNotServed", f"{name} serves neither health nor metrics: {report.metrics_problem}"
        )
        for name in sorted(members)
        if (report := members[name].roster.report).metrics_problem and report.phase == "Joined"
    ]


def _plan_refused(plan: MembersPlan, mesh: Mesh, member: Member) -> None:
    """Removes its routes: a person may have written them, and no traffic may go to a node that is not a member."""
    roster = member.roster
    if not roster.routes:
        return
    manifest = member_manifest(
        mesh, _DesiredMember(roster.node, roster.addresses, False, roster.external, None)
    )
    if LEAVE_FINALIZER not in member.finalizers:
        # the finalizer would mean that it was accepted
        manifest["metadata"] = {"name": roster.name}
    plan.actions.append(Apply(Kind.MEMBER, manifest))


def _member_conflict(
    mesh: Mesh, member: Member, holders: AddressHolders, *, is_node: bool
) -> SpecConflict | None:
    """Why a WgMeshNode, which people may write as well, cannot be a member."""
    roster = member.roster
    found: SpecConflict | None = None
    if roster.external and is_node:
        found = SpecConflict("NameTaken", f"{roster.node} is also a node of the cluster")
    for address in roster.addresses:
        if found is not None:
            break
        holder = holders.holder(address)
        if not any(usable(address, network) for network in mesh.cidrs):
            ranges = " or ".join(str(network) for network in mesh.cidrs)
            found = SpecConflict(
                "AddressOutOfRange",
                f"{roster.node} requests {address}, which is not a host address in {ranges}",
            )
        elif holder is not None and holder.name != roster.name:
            found = SpecConflict("AddressTaken", f"{roster.node} requests {address} of {holder.node}")
    if found is None:
        return None
    otherwise = "name" if found.reason == "NameTaken" else "address"
    remedy = f"delete WgMeshNode {roster.name}" + (
        f" and create it with another {otherwise}"
        if roster.external
        else ": it is re-created with a free address"
    )
    return replace(found, message=f"{found.message}: {remedy}", member=roster.name, uid=roster.uid)


def _matches_desired_spec(mesh: Mesh, member: Member, desired: _DesiredMember) -> bool:
    roster = member.roster
    return (
        roster.addresses == desired.addresses
        and roster.bootstrap == desired.bootstrap
        and roster.endpoint_hint == desired.endpoint_hint
        and roster.routes == desired.routes
        and LEAVE_FINALIZER in member.finalizers
        and mesh.uid in member.owners
        and member.labels.get(MESH_LABEL) == mesh.name
    )


def member_manifest(mesh: Mesh, desired: _DesiredMember) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": Kind.MEMBER.value,
        "metadata": {
            "name": node_object_name(mesh.name, desired.node),
            "labels": {MESH_LABEL: mesh.name},
            "finalizers": [LEAVE_FINALIZER],
            "ownerReferences": [mesh.metadata.owner],
        },
        "spec": {
            "mesh": mesh.name,
            "node": desired.node,
            "addresses": [str(address) for address in desired.addresses],
            "bootstrap": desired.bootstrap,
            "external": desired.external,
            **({"endpointHint": str(desired.endpoint_hint)} if desired.endpoint_hint is not None else {}),
            "routes": [str(route) for route in desired.routes],
        },
    }
