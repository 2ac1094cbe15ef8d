"""Plan for one mesh, from the state of the cluster: decided again at each pass, stored nowhere.

A plan contains only the next steps. The next pass sees their effects and continues from there, so it does not matter
where a plan was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from wgmesh_api.certificates import CertificateError
from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Action, Apply, Json, Kind, SetFinalizers
from wgmesh_operator.decisions.agent_defaults import AgentDefaults
from wgmesh_operator.decisions.drift import is_applied
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.faults import Border, Fault, Faults
from wgmesh_operator.decisions.membership import scheduling
from wgmesh_operator.decisions.membership.external_members import plan_external_member_statuses
from wgmesh_operator.decisions.membership.live_members import live_members
from wgmesh_operator.decisions.membership.member_release import plan_member_release
from wgmesh_operator.decisions.membership.members import plan_members
from wgmesh_operator.decisions.membership.spec_conflicts import SpecConflict, find_conflicts
from wgmesh_operator.decisions.mesh_status import MeshFindings, bootstrap_statuses, plan_status
from wgmesh_operator.decisions.mesh_teardown import plan_orphans, plan_teardown
from wgmesh_operator.decisions.model import AnyMesh, ClusterState, InvalidMesh, Mesh, SigningRequest
from wgmesh_operator.decisions.rendering import agent, tunnel
from wgmesh_operator.decisions.trust import preshared, signing_requests
from wgmesh_operator.decisions.trust.authority import (
    Authority,
    MemberTrust,
    first_authority,
    plan_ca_rotation,
    read_authority,
)
from wgmesh_operator.decisions.trust.gossip_key import MemberRing, first_keyring, plan_key_rotation
from wgmesh_operator.decisions.trust.join_bundles import plan_bundle, plan_stale_bundles


@dataclass(frozen=True, slots=True)
class Plan:
    """`status` is the desired one of the mesh (None: no mesh), with `events` to emit when it is written.

    `requeue_at`: when to reconcile again without a change. `faults`: rejected units.
    """

    actions: list[Action] = field(default_factory=list)
    status: Json | None = None
    events: list[Action] = field(default_factory=list)
    requeue_at: datetime | None = None
    faults: list[Fault] = field(default_factory=list)


def plan_mesh(
    name: str,
    state: ClusterState,
    deployment: AgentDefaults,
    now: datetime,
    entropy: Entropy,
    *,
    refresh: bool = False,
    last_error: str = "",
) -> Plan:
    """The current plan for the mesh called `name`, existing or not. Requests that belong to no mesh have the name "".

    `refresh`: apply also objects that are not watched. `last_error`: what the API server rejected in the last pass.
    """
    mesh = state.meshes.get(name)
    if mesh is None and name in state.unread(Kind.MESH):
        # it exists: its members are not orphans
        return Plan()
    if mesh is None:
        orphans = plan_orphans(name, state.members.get(name, {}), state, now)
        denial = signing_requests.Denial("MeshNotFound", _mesh_not_found(name))
        return Plan(
            [*orphans.actions, *_deny_all(name, None, denial, state, now)], requeue_at=orphans.requeue_at
        )
    if mesh.metadata.deleting_since is not None:
        removal = plan_teardown(mesh, state, now)
        denial = signing_requests.Denial("MeshTerminating", f"mesh {name} is being deleted")
        denied = _deny_all(name, mesh, denial, state, now)
        return Plan([*removal.actions, *denied], removal.status, requeue_at=removal.requeue_at)
    if names.MESH_FINALIZER not in mesh.metadata.finalizers:
        # before any object is created that would have to be removed
        finalizers = (*mesh.metadata.finalizers, names.MESH_FINALIZER)
        return Plan([SetFinalizers(Kind.MESH, name, finalizers, mesh.metadata.resource_version)])
    if isinstance(mesh, InvalidMesh):
        invalid = SpecConflict("InvalidSpec", f"invalid spec: {mesh.error}", blocking=True)
        conflicts = [invalid, *_apply_failure(last_error)]
        told = plan_status(mesh, state, MeshFindings(conflicts, blocked=True), now)
        return Plan([], told.status, told.events, told.requeue_at)
    planner = _MeshPlanner(mesh, state, deployment, now, entropy, refresh=refresh)
    findings = planner.plan()
    findings = replace(findings, conflicts=[*findings.conflicts, *_apply_failure(last_error)])
    told = plan_status(mesh, state, findings, now)
    requeue_at = [at for at in (*planner.requeue_at, told.requeue_at) if at is not None]
    return Plan(
        planner.actions, told.status, told.events, min(requeue_at, default=None), planner.faults.found
    )


def _apply_failure(last_error: str) -> list[SpecConflict]:
    return [SpecConflict("ApplyFailed", last_error)] if last_error else []


class _MeshPlanner:
    """One pass over a mesh with a valid spec: `plan` fills the attributes of which a `Plan` consists."""

    def __init__(
        self,
        mesh: Mesh,
        state: ClusterState,
        deployment: AgentDefaults,
        now: datetime,
        entropy: Entropy,
        *,
        refresh: bool,
    ) -> None:
        self.refresh = refresh
        self.mesh = mesh
        self.state = state
        self.deployment = deployment
        self.now = now
        self.entropy = entropy
        self.members = state.members.get(mesh.name, {})
        self.live_members = live_members(mesh.name, state)
        self.actions: list[Action] = []
        self.requeue_at: list[datetime] = []
        self.faults = Faults()
        self.live = state.daemon_sets.get(names.agent_daemon_set(mesh.name))
        self.live_tunnel = state.daemon_sets.get(names.tunnel_daemon_set(mesh.name))

    def plan(self) -> MeshFindings:
        mesh, state, now = self.mesh, self.state, self.now
        selected = scheduling.selected(mesh.spec, state.nodes)
        found = [*find_conflicts(mesh, state, selected), *self._unreadable()]
        # a mesh that carries traffic is not removed because a newer one conflicts with it
        blocked = any(conflict.blocking for conflict in found) and self.live is None and not self.members
        if blocked:
            return MeshFindings(found, selected, blocked=True)
        authority, error = self._authority()
        self._gossip_key()
        self._preshared()
        member_plan = plan_members(mesh, state, self.members, selected, now, self.faults)
        self.actions += member_plan.actions
        leaving = plan_member_release(
            self.members.values(), state.nodes, has_agents=self.live is not None, now=now
        )
        self.actions += leaving.actions
        self._deploy(keep_selector=self._has_members_to_drain(selected))
        self.requeue_at += [at for at in (member_plan.requeue_at, leaving.requeue_at) if at is not None]
        refused = member_plan.refused
        self.actions += plan_external_member_statuses(self.members, refused, now, self.faults)
        if authority is not None:
            self._requests(authority, refused)
            self._bundles(authority, member_plan.bootstraps, refused)
        return MeshFindings(
            [*found, *member_plan.conflicts], selected, member_plan.bootstraps, authority, error
        )

    def _unreadable(self) -> list[SpecConflict]:
        found = []
        for one in self.state.unreadable:
            member = one.name if one.kind == Kind.MEMBER else ""
            if one.mesh in ("", self.mesh.name):
                found.append(SpecConflict("ObjectUnreadable", str(one), member=member, uid=one.uid))
        return found

    def _authority(self) -> tuple[Authority | None, str]:
        secret = self.state.secrets.get(names.ca_secret(self.mesh.name))
        if secret is None:
            self.actions.append(first_authority(self.mesh, self.deployment.namespace, self.now, self.entropy))
            return None, ""
        try:
            authority = read_authority(secret)
        except CertificateError as error:
            fix = "restore it, or delete it to have a new CA created"
            return None, f"{error}: {fix}"
        step = plan_ca_rotation(
            self.mesh,
            secret,
            authority,
            self._trust(),
            self.deployment.namespace,
            self.now,
            self.entropy,
        )
        self.actions += step.actions
        if step.requeue_at is not None:
            self.requeue_at.append(step.requeue_at)
        return authority, ""

    def _gossip_key(self) -> None:
        mesh, namespace = self.mesh, self.deployment.namespace
        secret = self.state.secrets.get(names.gossip_secret(mesh.name))
        if secret is None:
            self.actions.append(first_keyring(mesh, namespace, self.now, self.entropy))
            return
        rings = [
            MemberRing(name, member.roster.report.gossip_keys) for name, member in self.live_members.items()
        ]
        step = plan_key_rotation(mesh, secret, rings, namespace, self.now, self.entropy)
        self.actions += step.actions
        if step.requeue_at is not None:
            self.requeue_at.append(step.requeue_at)

    def _preshared(self) -> None:
        secret = self.state.secrets.get(names.psk_secret(self.mesh.name))
        held = preshared.secrets_held(self.live_members.values(), self.members)
        self.actions += preshared.plan_preshared(
            self.mesh, secret, held, self.deployment.namespace, self.entropy
        )

    def _trust(self) -> Iterable[MemberTrust]:
        for name, member in self.live_members.items():
            report = member.roster.report
            yield MemberTrust(name, report.certificate_issuer, report.trusted)

    def _has_members_to_drain(self, selected: set[str]) -> bool:
        """Whether a node that should no longer be a member still is: its agent is needed for leaving."""
        return any(
            name not in selected and name in self.state.nodes and not member.roster.external
            for name, member in self.members.items()
        )

    def _deploy(self, *, keep_selector: bool) -> None:
        held: Mapping[str, str] | None = None
        if keep_selector and self.live is not None:
            held = self.live["spec"]["template"]["spec"].get("nodeSelector") or {}
        wanted = (
            (agent.daemon_set(self.mesh, self.deployment, node_selector=held), self.live),
            (
                tunnel.daemon_set(self.mesh, self.deployment, self.live_tunnel, node_selector=held),
                self.live_tunnel,
            ),
        )
        if self.live is None or self.refresh:
            # the account must exist before the first pods are created
            self.actions.append(
                Apply(Kind.SERVICE_ACCOUNT, agent.service_account(self.mesh, self.deployment))
            )
            self.actions.append(Apply(Kind.BINDING, agent.binding(self.mesh, self.deployment)))
        for manifest, live in wanted:
            if not is_applied(manifest, live):
                self.actions.append(Apply(Kind.DAEMON_SET, manifest))

    def _requests(self, authority: Authority, refused: Mapping[str, SpecConflict]) -> None:
        mesh, now = self.mesh, self.now
        for request in _open(self.state.requests.get(mesh.name, {}).values()):
            with self.faults.fence(Border.REQUEST, request.name) as item:
                self.actions += self._answer(request, authority, refused)
            if item.error is not None:
                with self.faults.fence(Border.REQUEST, request.name):
                    self.actions += signing_requests.plan_denial(
                        request, signing_requests.unreadable(item.error), mesh, now
                    )

    def _answer(
        self, request: SigningRequest, authority: Authority, refused: Mapping[str, SpecConflict]
    ) -> list[Action]:
        mesh, now, namespace = self.mesh, self.now, self.deployment.namespace
        verdict = signing_requests.evaluate(request, mesh, self.members, self.state.nodes, namespace, refused)
        if isinstance(verdict, signing_requests.Denial):
            return signing_requests.plan_denial(request, verdict, mesh, now)
        return signing_requests.plan_approval(request, verdict, authority.signing, now, self.entropy)

    def _bundles(
        self, authority: Authority, bootstraps: frozenset[str], refused: Mapping[str, SpecConflict]
    ) -> None:
        self.actions += plan_stale_bundles(self.mesh.name, self.members.values(), self.state.secrets.values())
        found = bootstrap_statuses(self.mesh, self.state, bootstraps)
        # an external machine is more often outside the nodes' network than in it
        where = [item["outerAddress"] for item in found if "outerAddress" in item]
        where += [item["address"] for item in found if item["address"] not in where]
        secrets = preshared.secrets_for_bundle(self.state.secrets.get(names.psk_secret(self.mesh.name)))
        for name, member in self.members.items():
            if not member.roster.external or member.roster.deleting or name in refused:
                continue
            with self.faults.fence(Border.BUNDLE, member.roster.name):
                self.actions += plan_bundle(
                    self.mesh,
                    member,
                    self.state.secrets.get(names.join_secret(self.mesh.name, name)),
                    authority,
                    where,
                    secrets,
                    self.deployment.namespace,
                    self.now,
                    self.entropy,
                )


def _mesh_not_found(name: str) -> str:
    return f"there is no mesh {name}" if name else "the requester is not the agents' account of any mesh"


def _deny_all(
    name: str, mesh: AnyMesh | None, denial: signing_requests.Denial, state: ClusterState, now: datetime
) -> list[Action]:
    actions: list[Action] = []
    for request in _open(state.requests.get(name, {}).values()):
        actions += signing_requests.plan_denial(request, denial, mesh, now)
    return actions


def _open(every: Iterable[SigningRequest]) -> list[SigningRequest]:
    pending = (request for request in every if not request.state.settled)
    return sorted(pending, key=lambda request: (request.created, request.name))[
        : signing_requests.MAX_REQUESTS_PER_PASS
    ]
