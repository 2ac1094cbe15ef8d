"""All that is to be done about one mesh, from what the cluster is: decided anew at each look, remembered nowhere.

A plan is only the next steps. What they change is seen at the next look, which goes on from there, so it makes no
difference where a plan was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from wgmesh_api.certificates import CertificateError
from wgmesh_api.fields import IPAddress, write_time
from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Action, Apply, Json, Kind, SetFinalizers
from wgmesh_operator.decisions.agent_defaults import AgentDefaults
from wgmesh_operator.decisions.drift import is_applied
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.faults import Border, Fault, Faults
from wgmesh_operator.decisions.membership import scheduling
from wgmesh_operator.decisions.membership.external_members import plan_external_member_statuses
from wgmesh_operator.decisions.membership.member_release import plan_member_release
from wgmesh_operator.decisions.membership.members import plan_members
from wgmesh_operator.decisions.membership.spec_conflicts import SpecConflict, find_conflicts
from wgmesh_operator.decisions.mesh_teardown import plan_orphans, plan_teardown
from wgmesh_operator.decisions.model import ClusterState, Member, MeshObject, SigningRequest
from wgmesh_operator.decisions.rendering import agent, tunnel
from wgmesh_operator.decisions.status.conditions import (
    STARTUP_GRACE,
    StatusInputs,
    evaluate,
    member_news,
    transition_events,
    with_transition_times,
)
from wgmesh_operator.decisions.status.mesh_summary import summarize
from wgmesh_operator.decisions.trust import preshared, signing_requests
from wgmesh_operator.decisions.trust.authority import (
    Authority,
    MemberTrust,
    first_authority,
    plan_ca_rotation,
    read_authority,
)
from wgmesh_operator.decisions.trust.gossip_key import (
    MemberRing,
    first_keyring,
    key_created_at,
    plan_key_rotation,
)
from wgmesh_operator.decisions.trust.join_bundles import plan_bundle, plan_stale_bundles
from wgmesh_operator.decisions.trust.wireguard_keys import summarize_keys


@dataclass(frozen=True, slots=True)
class Plan:
    """`status` is what the mesh's should be (None: no mesh), with `events` to tell when it is written.

    `requeue_at`: when to look again though nothing has changed. `faults`: what was passed over.
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
    trouble: str = "",
) -> Plan:
    """What to do now about the mesh called `name`, there or not. Requests of nobody's mesh are under the name "".

    `refresh`: apply also what is not watched. `trouble`: what the API server refused at the last look.
    """
    mesh = state.meshes.get(name)
    if mesh is None and name in state.unread(Kind.MESH):
        # it exists: its members are not orphans
        return Plan()
    if mesh is None:
        orphans = plan_orphans(name, state.members.get(name, {}), state, now)
        denial = signing_requests.Denial("NoSuchMesh", _mesh_not_found(name))
        return Plan(
            [*orphans.actions, *_deny_all(name, None, denial, state, now)], requeue_at=orphans.requeue_at
        )
    if mesh.deleting_since is not None:
        removal = plan_teardown(mesh, state, now)
        denial = signing_requests.Denial("MeshGoes", f"mesh {name} is being deleted")
        denied = _deny_all(name, mesh, denial, state, now)
        return Plan([*removal.actions, *denied], removal.status, requeue_at=removal.requeue_at)
    if names.MESH_FINALIZER not in mesh.finalizers:
        # before anything that would have to be removed is made
        finalizers = (*mesh.finalizers, names.MESH_FINALIZER)
        return Plan([SetFinalizers(Kind.MESH, name, finalizers, mesh.resource_version)])
    return _MeshPlanner(mesh, state, deployment, now, entropy, refresh=refresh, trouble=trouble).plan()


class _MeshPlanner:
    """One look at a mesh that is wanted."""

    def __init__(
        self,
        mesh: MeshObject,
        state: ClusterState,
        deployment: AgentDefaults,
        now: datetime,
        entropy: Entropy,
        *,
        refresh: bool,
        trouble: str,
    ) -> None:
        self.refresh = refresh
        self.trouble = trouble
        self.mesh = mesh
        self.state = state
        self.deployment = deployment
        self.now = now
        self.entropy = entropy
        self.members = state.members.get(mesh.name, {})
        self.actions: list[Action] = []
        self.requeue_at: list[datetime] = []
        self.faults = Faults()
        self.live = state.daemon_sets.get(names.agent_daemon_set(mesh.name))
        self.live_tunnel = state.daemon_sets.get(names.tunnel_daemon_set(mesh.name))

    def plan(self) -> Plan:
        mesh, state, now = self.mesh, self.state, self.now
        if mesh.spec is None:
            invalid = SpecConflict(
                "InvalidSpec", f"the spec cannot be read: {mesh.spec_error}", blocking=True
            )
            return self._finish([invalid], set(), frozenset(), None, "", blocked=True)
        selected = scheduling.selected(mesh.spec, state.nodes)
        found = [*find_conflicts(mesh, state, selected), *self._unreadable()]
        # a mesh that carries traffic is not taken away because a newcomer clashes with it
        blocked = any(problem.blocking for problem in found) and self.live is None and not self.members
        if blocked:
            return self._finish(found, selected, frozenset(), None, "", blocked=True)
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
        return self._finish(
            [*found, *member_plan.conflicts],
            selected,
            member_plan.bootstraps,
            authority,
            error,
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
            fix = "restore it, or delete it to have a new CA made"
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
        rings = [MemberRing(name, member.roster.report.gossip_keys) for name, member in self._live()]
        step = plan_key_rotation(mesh, secret, rings, namespace, self.now, self.entropy)
        self.actions += step.actions
        if step.requeue_at is not None:
            self.requeue_at.append(step.requeue_at)

    def _preshared(self) -> None:
        secret = self.state.secrets.get(names.psk_secret(self.mesh.name))
        held = preshared.secrets_held((member for _, member in self._live()), self.members)
        self.actions += preshared.plan_preshared(
            self.mesh, secret, held, self.deployment.namespace, self.entropy
        )

    def _live(self) -> Iterator[tuple[str, Member]]:
        """Members on nodes that are ready, which have joined: who is to take part in a roll-over or rotation."""
        for name, member in self.members.items():
            node, report = self.state.nodes.get(name), member.roster.report
            if not member.roster.external and node is not None and node.ready and report.phase == "Joined":
                yield name, member

    def _trust(self) -> Iterable[MemberTrust]:
        for name, member in self._live():
            report = member.roster.report
            yield MemberTrust(name, report.certificate_issuer, report.trusted)

    def _has_members_to_drain(self, selected: set[str]) -> bool:
        """Whether a node that is wanted no more is still a member: its agent is needed for leaving."""
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
            # the account must be there before the first pods are made
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
        found = self._bootstrap_statuses(bootstraps)
        # an external machine is beyond the nodes' network more often than in it
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

    def _bootstrap_statuses(self, bootstraps: frozenset[str]) -> list[Json]:
        assert self.mesh.spec is not None
        port = self.mesh.spec.bootstrap.port
        found = []
        for name in bootstraps:
            node, member = self.state.nodes.get(name), self.members.get(name)
            if node is None or not (node.addresses or node.outer):
                continue
            report = member.roster.report if member is not None else None
            joined = report is not None and report.phase == "Joined" and not report.not_serving
            reached = [_host_port(a, port) for a in (*node.addresses[:1], node.outer) if a is not None]
            outer = {"outerAddress": reached[1]} if len(reached) > 1 else {}
            found.append((not joined, name, {"node": name, "address": reached[0], **outer}))
        # joiners try them in this order: those that serve first
        return [item for _, _, item in sorted(found, key=lambda entry: entry[:2])]

    def _finish(
        self,
        found: list[SpecConflict],
        selected: set[str],
        bootstraps: frozenset[str],
        authority: Authority | None,
        error: str,
        *,
        blocked: bool = False,
    ) -> Plan:
        mesh, now = self.mesh, self.now
        if self.trouble:
            found = [*found, SpecConflict("ApplyFailed", self.trouble)]
        counted = summarize(selected, self.members, self.state.nodes, bootstraps, now)
        live_status: Mapping[str, Any] = (self.live or {}).get("status") or {}
        first_meshed = mesh.status.get("firstMeshedAt") or (
            int(now.timestamp()) if counted.fully_meshed else None
        )
        starting = first_meshed is None and now < mesh.created + STARTUP_GRACE
        if starting:
            self.requeue_at.append(mesh.created + STARTUP_GRACE)
        outlook = StatusInputs(
            summary=counted,
            problems=found,
            blocked=blocked,
            agents=(live_status.get("numberReady", 0), live_status.get("desiredNumberScheduled", 0)),
            bootstraps_wanted=mesh.spec.bootstrap.replicas if mesh.spec else 0,
            authority_error=error,
            ca_rotating=authority is not None and authority.rotating,
            starting=starting,
        )
        conditions = with_transition_times(evaluate(outlook), mesh.status, mesh.generation, now)
        keys = summarize_keys(mesh, [member.roster.report for _, member in self._live()])
        made = key_created_at(mesh, self.state.secrets.get(names.gossip_secret(mesh.name)))
        bundle = authority.trust_bundle if authority else mesh.status.get("trustBundle")
        status: Json = {
            "observedGeneration": mesh.generation,
            "nodes": f"{counted.ready}/{counted.nodes}",
            "links": f"{counted.links_up}/{counted.links}",
            "desiredNodes": counted.nodes,
            "readyNodes": counted.ready,
            "bootstraps": self._bootstrap_statuses(bootstraps) if mesh.spec else [],
            **({"trustBundle": bundle} if bundle else {}),
            "createdAt": int(mesh.created.timestamp()),
            **({"firstMeshedAt": first_meshed} if first_meshed else {}),
            **({"gossipKeyMade": write_time(made)} if made is not None else {}),
            **({"oldestWireguardKey": write_time(keys.oldest)} if keys.oldest is not None else {}),
            **({"wireguardKeysRotatedFor": keys.rotated_for} if keys.rotated_for else {}),
            "worstLinks": list(counted.links_down.names),
            "conditions": conditions,
        }
        events: list[Action] = [*transition_events(mesh, conditions), *member_news(mesh, found), *keys.news]
        return Plan(self.actions, status, events, min(self.requeue_at, default=None), self.faults.found)


def _host_port(address: IPAddress, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _mesh_not_found(name: str) -> str:
    return f"there is no mesh {name}" if name else "the requester is no mesh's agents' account"


def _deny_all(
    name: str, mesh: MeshObject | None, denial: signing_requests.Denial, state: ClusterState, now: datetime
) -> list[Action]:
    actions: list[Action] = []
    for request in _open(state.requests.get(name, {}).values()):
        actions += signing_requests.plan_denial(request, denial, mesh, now)
    return actions


def _open(every: Iterable[SigningRequest]) -> list[SigningRequest]:
    pending = (request for request in every if not request.settled)
    return sorted(pending, key=lambda request: (request.created, request.name))[
        : signing_requests.MAX_REQUESTS_PER_PASS
    ]
