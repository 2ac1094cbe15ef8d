"""Roster sync: adds and removes members of the ledger as the roster does, and decides when this node must leave."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.session_end import SessionEnd
from wgmesh_agent.agent.session_start import SessionStart
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.kube.api_client import ApiError, KubernetesApi, nodes_path
from wgmesh_agent.kube.certificate import CertificateStore
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.kube.roster_policy import RosterPolicy
from wgmesh_agent.kube.roster_status import RosterStatus
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import LIVING
from wgmesh_agent.mesh.membership.secret_ids import split_ids
from wgmesh_agent.runtime.chunks import in_chunks
from wgmesh_agent.wireguard.keys import InvalidKeyError, PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress
from wgmesh_api.roster import RosterNode, node_object_name

log = structlog.get_logger()
RESYNC_SECONDS = 10.0
LEAVE_GRACE_SECONDS = 5.0
"""How long a deleted live member may stay, to leave in gossip. A revoked one gets no more time either."""
REPORT_DEADLINE_SECONDS = 60.0
"""By then an admitted member has published its key in the roster."""


class RosterSync:
    """Roster sync of an agent; `run` runs beside each session."""

    def __init__(
        self,
        api: KubernetesApi,
        view: RosterCache,
        identity: CertificateStore,
        policy: RosterPolicy,
        is_certified: Callable[[RosterNode], bool],
        next_start: Callable[[MeshNode], SessionStart],
        *,
        clock: Callable[[], float] = time.monotonic,
        now_unix: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            is_certified: whether this node's certificate matches its WgMeshNode.
            next_start: start of the next session, with the role and addresses of the WgMeshNode.
        """
        self._api = api
        self._view = view
        self._identity = identity
        self._policy = policy
        self._is_certified = is_certified
        self._next_start = next_start
        self._clock = clock
        self._now_unix = now_unix
        self._standing = RosterStatus.UNKNOWN
        self._deleted_at: dict[str, tuple[float, str]] = {}
        self._entered_by: dict[str, str] = {}
        self._hints: dict[str, IPAddress | None] = {}
        self._compare_whole_at = -math.inf

    def member_uid(self, node: str) -> str:
        """The uid of the WgMeshNode by which a member of this name was bound here; empty: none yet."""
        return self._entered_by.get(node, "")

    async def run(self, node: MeshNode, end: SessionEnd) -> None:
        """Runs until this node is to leave, or to restart with another role or addresses; requests that of the
        session.
        """
        self._compare_whole_at = -math.inf
        while True:
            generation = self._view.changes.generation
            if await self.reconcile(node, end):
                return
            await self._view.changes.wait_after(generation, self._wait_seconds())

    async def reconcile(self, node: MeshNode, end: SessionEnd) -> bool:
        """One pass over the roster; returns whether the session is to end."""
        found = self._view.status_of_node(self._identity.uid())
        if found is RosterStatus.UNLISTED and not await self._is_deleted(node.record.mesh):
            found = RosterStatus.UNCERTAIN
        if found is not self._standing:
            self._standing = found
            self._compare_whole_at = -math.inf
            if found is RosterStatus.UNCERTAIN:
                log.error(
                    "roster is inconsistent: this node is missing from it",
                    reason="this node is not in it",
                    next="keeping the current state",
                )
        if found in (RosterStatus.DELETED, RosterStatus.REPLACED, RosterStatus.UNLISTED):
            log.warning("this node is no longer a member", reason=found.value)
            end.leave_requested.set()
            return True
        own = self._view.own
        if found is not RosterStatus.MEMBER or own is None:
            return False
        if not self._identity.uid():
            await asyncio.to_thread(self._identity.save_uid, own.uid)
        record = node.record
        changed = (own.bootstrap, own.addresses) != (record.bootstrap, record.addresses)
        if changed and own.addresses and self._is_certified(own):
            end.restart_with(self._next_start(node))
            return True
        await self._reconcile_members(node)
        return False

    async def _is_deleted(self, mesh: str) -> bool:
        """Whether the API server confirms, for this node's WgMeshNode itself, that it does not exist."""
        name = node_object_name(mesh, self._view.node)
        try:
            await self._api.get(nodes_path(name))
        except ApiError as error:
            if error.status == 404:
                return True
            log.warning("cannot read own WgMeshNode", error=str(error))
        return False

    async def _reconcile_members(self, node: MeshNode) -> None:
        """Compares changed members with their bindings here, and periodically all of them.

        In a mesh of thousands some status is written all the time.
        """
        now = self._clock()
        names: Iterable[str] = self._view.drain_changed() | {node for _, node in self._deleted_at.values()}
        if not names or now >= self._compare_whole_at:
            self._compare_whole_at = now + RESYNC_SECONDS
            names = self._resync(node)
        members = list(names)
        await in_chunks(members, lambda name: self._remove(node, name))
        await in_chunks(members, lambda name: self._upsert(node, name))

    def _resync(self, node: MeshNode) -> set[str]:
        there = {entry.uid for entry in self._view.nodes.values()}
        self._policy.keep_expired(there)
        self._deleted_at = {uid: since for uid, since in self._deleted_at.items() if uid in there}
        bound = {binding.claim.node for binding in node.ledger if binding.claim.node}
        return {*self._view.nodes, *bound, *node.gossip.members()}

    def _remove(self, node: MeshNode, name: str) -> None:
        entry, membership = self._view.nodes.get(name), node.tracker
        bound = node.ledger.by_name(name)
        if entry is not None:
            self._track_deletion(node, entry)
        if bound is not None and not self._policy.admits(name):
            membership.remove(name, "removed from the roster")
        elif bound is not None and entry is not None and not self._is_of(bound, entry):
            membership.remove(name, "re-created in the roster")
        if entry is None:
            self._entered_by.pop(name, None)
            self._hints.pop(name, None)
        else:
            self._entered_by[name] = entry.uid

    def _is_of(self, bound: Binding, entry: RosterNode) -> bool:
        """Whether the bound member is this one, and not an earlier one of the same name.

        After a restart only its record, if it has one, shows that.
        """
        record = bound.claim.admission
        earlier = self._entered_by.get(entry.node)
        if earlier is None and entry.external and record is not None:
            return record.is_since(entry.created)
        return earlier in (None, entry.uid)

    def _upsert(self, node: MeshNode, name: str) -> None:
        membership, ledger = node.tracker, node.ledger
        entry = self._view.nodes.get(name)
        if name == node.record.node:
            if entry is not None:
                node.local.advertise_routes(entry.routes)
            return
        if entry is not None and not entry.deleting and self._policy.admits(name):
            claim = None if _is_unchanged(entry, ledger.by_name(name)) else claim_of(entry)
            # the key of an external member is its record's: the roster has it from other agents' statuses
            is_proven = not entry.external or not node.record.requires_admission
            if claim is not None and is_proven and self._is_authoritative(entry, claim, ledger):
                membership.accept(claim, Origin.ROSTER)
        if entry is not None:
            membership.set_routes(name, entry.routes)
            self._follow_hint(node, entry)
        if ledger.by_name(name) is None and self._policy.admits(name):
            member = node.gossip.member(name)
            if member is not None and member.status is not MemberStatus.LEFT:
                membership.on_member_update(member)

    def _follow_hint(self, node: MeshNode, entry: RosterNode) -> None:
        """The roster states an external address of a member: it is tried if the member is unreachable."""
        if node.ledger.by_name(entry.node) is None:
            return
        before = self._hints.get(entry.node)
        hint = self._hints[entry.node] = entry.endpoint_hint
        if hint is None or hint == before:
            return
        member = node.tracker.hint(entry.node, hint)
        if member is not None:
            log.info("public endpoint of member changed", node=entry.node, address=str(hint))
            node.discovery.hinted(member.claim.public_key, member.claim.endpoints[1])

    def _track_deletion(self, node: MeshNode, entry: RosterNode) -> None:
        if entry.report.phase == "Left":
            self._policy.expire(entry.uid)
        if not entry.deleting:
            return
        if not self._policy.is_expired(entry.uid):
            now = self._clock()
            since, _ = self._deleted_at.setdefault(entry.uid, (now, entry.node))
            member = node.gossip.member(entry.node)
            # An external machine does not read the roster, so it cannot leave on its own.
            may_speak = not entry.external and member is not None and member.status in LIVING
            if not may_speak or now >= since + LEAVE_GRACE_SECONDS:
                self._policy.expire(entry.uid)
        if self._policy.is_expired(entry.uid):
            self._deleted_at.pop(entry.uid, None)

    def _is_authoritative(self, other: RosterNode, claim: Claim, ledger: Ledger) -> bool:
        """Whether the roster's statement counts against the existing binding.

        A member's own report does, except in the minute after it was admitted with another key, which it has yet to
        report. About external machines the roster contains only what bootstrap nodes reported.
        """
        bound = ledger.by_name(other.node)
        if bound is None:
            return True
        if other.external or not ledger.is_conflicting(claim):
            return False
        is_admitted = bound.origin in (Origin.ADMITTED, Origin.RECORD)
        return not is_admitted or self._now_unix() >= bound.since + REPORT_DEADLINE_SECONDS

    def _wait_seconds(self) -> float:
        ends = (since + LEAVE_GRACE_SECONDS for since, _ in self._deleted_at.values())
        return max(0.0, min(RESYNC_SECONDS, min(ends, default=float("inf")) - self._clock()))


def _is_unchanged(entry: RosterNode, bound: Binding | None) -> bool:
    """Whether the roster matches the binding: nearly always, and much quicker than to decode it as a claim."""
    return (
        bound is not None
        and bound.claim.addresses == entry.addresses
        and str(bound.claim.public_key) == entry.report.public_key
    )


def claim_of(entry: RosterNode) -> Claim | None:
    """The claim of a member by the roster; None until its agent has published its key.

    Its endpoints are the one that it reports and, at the same port, the address at which external machines reach it.
    """
    try:
        key = PublicKey.from_base64(entry.report.public_key)
    except InvalidKeyError:
        return None
    if not entry.addresses:
        return None
    try:
        reported = Endpoint.parse_reported(entry.report.endpoint)
        outer = () if entry.endpoint_hint is None else (Endpoint(entry.endpoint_hint, reported.port),)
        endpoints: tuple[Endpoint, ...] = tuple(dict.fromkeys((reported, *outer)))
    except ValueError:
        endpoints = ()
    return Claim(
        entry.node,
        key,
        entry.addresses,
        endpoints,
        entry.bootstrap,
        routes=entry.routes,
        secret_ids=_secret_ids(entry.report.secret_ids),
    )


def _secret_ids(texts: Sequence[str]) -> tuple[bytes, ...]:
    try:
        return split_ids(bytes.fromhex("".join(texts)))
    except ValueError:
        return ()
