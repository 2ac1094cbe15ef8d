"""What runs beside a session in Kubernetes: roster to ledger, status to the API, certificate renewal, the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import structlog

from wgmesh_agent.daemon.session import Session, Start
from wgmesh_agent.gossip.serf_messages import MemberStatus
from wgmesh_agent.join.admission import Caller, DenialReason, Denied
from wgmesh_agent.join.tls import Credentials
from wgmesh_agent.kube.api import Api, ApiError, nodes_path
from wgmesh_agent.kube.certificate import Identity, RequestDenied, Wanted, ask, is_good, now
from wgmesh_agent.kube.report import Seen, certified, differs, report, stamped, wanted_peers
from wgmesh_agent.kube.view import RosterView
from wgmesh_agent.membership.binding import Claim, IPAddress, Origin
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.keys import InvalidKeyError, PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint
from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.roster import API_VERSION, NodeReport, RosterNode, node_object_name

log = structlog.get_logger()
STATUS_SECONDS = 10.0
LOOK_SECONDS = 2.0
RENEWAL_LOOK_SECONDS = 5.0
RETRY_SECONDS = 10.0
REASSERT_SECONDS = 600.0


class Companions:
    """One instance an agent; `around` is called for each session."""

    def __init__(
        self,
        api: Api,
        view: RosterView,
        identity: Identity,
        credentials: Credentials,
        next_start: Callable[[Session], Start],
    ) -> None:
        """
        Args:
            next_start: what a session is followed by when this node's role or addresses changed.
        """
        self._api = api
        self._view = view
        self._identity = identity
        self._credentials = credentials
        self._next_start = next_start
        self._written: NodeReport | None = None
        self._written_at = 0.0

    def around(self, session: Session) -> Iterable[tuple[str, Coroutine[Any, Any, None]]]:
        session.node.assigned = self._assigned
        return (
            ("roster", self._follow_roster(session)),
            ("status", self._write_status(session)),
            ("certificate", self._renew(session)),
        )

    def _assigned(self, node: str, caller: Caller) -> tuple[IPAddress, ...]:
        """Raises Denied: the roster does not have the node, or its certificate belongs to one that was deleted."""
        entry = self._view.nodes.get(node)
        if entry is None and not self._view.synced:
            raise Denied(DenialReason.NOT_LISTED, "the roster is not known here yet: try again later")
        if entry is None or entry.deleting or not entry.addresses:
            raise Denied(DenialReason.NOT_LISTED, f"the roster has no member {node}, or it is leaving")
        if caller.not_before is not None and caller.not_before < entry.created:
            raise Denied(
                DenialReason.REVOKED,
                f"the certificate is older than the member {node}, which was made anew: a new one is needed",
            )
        return entry.addresses

    async def left(self, mesh: str, node: str) -> None:
        """Tells the operator that nothing of this member is left on its node."""
        base = replace(
            self._written or NodeReport(), phase="Left", ready=False, ready_reason="Left", ready_message=""
        )
        while True:
            try:
                await self._apply(mesh, node, stamped(base, self._written, datetime.now(UTC)))
                return
            except ApiError as error:
                if error.status == 404:
                    return
                log.warning("leaving not told", why=str(error), retry_seconds=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow_roster(self, session: Session) -> None:
        view, node = self._view, session.node
        node.membership.is_listed = lambda name: not view.synced or name in view.nodes
        while True:
            generation = view.changes.generation
            if view.synced:
                own = view.own
                if own is None or own.deleting:
                    log.warning("this node is no member any more", why="its WgMeshNode is deleted")
                    session.leave_wanted.set()
                    return
                changed = (own.bootstrap, own.addresses) != (node.record.bootstrap, node.record.addresses)
                if changed and own.addresses and self._is_certified(own):
                    session.move(self._next_start(session))
                    return
                self._apply_roster(session)
            await view.changes.after(generation, STATUS_SECONDS)

    def _is_certified(self, own: RosterNode) -> bool:
        return is_good(self._credentials.files, self._wanted(own), own.created, now())

    def _apply_roster(self, session: Session) -> None:
        membership, ledger = session.node.membership, session.node.ledger
        for binding in list(ledger):
            if binding.claim.node and binding.claim.node not in self._view.nodes:
                membership.remove(binding.claim.node, "removed from the roster")
        for other in self._view.nodes.values():
            claim = claim_of(other)
            if claim is None or other.node == session.node.record.node:
                continue
            if other.deleting or other.report.phase == "Left":
                continue
            if ledger.by_name(other.node) is None or ledger.contradicts(claim):
                membership.accept(claim, Origin.ROSTER)
        for member in session.node.members():
            if ledger.by_name(member.name) is None:
                membership.heard(member)

    async def _write_status(self, session: Session) -> None:
        while True:
            generation = session.node.changes.generation
            try:
                current = await self._report(session)
            except BackEndError as error:
                log.error("cannot read WireGuard", why=str(error))
                current = None
            if current is not None and self._is_due(current):
                await self._try_to_write(session, current)
            if self._written is not None and self._written_at:
                calm = self._written_at + STATUS_SECONDS * random.uniform(1.0, 1.2) - time.monotonic()  # noqa: S311
                if calm > 0:
                    await asyncio.sleep(calm)
            await session.node.changes.after(generation, LOOK_SECONDS)

    def _is_due(self, current: NodeReport) -> bool:
        return differs(current, self._written) or time.monotonic() - self._written_at > REASSERT_SECONDS

    async def _try_to_write(self, session: Session, current: NodeReport) -> None:
        record = session.node.record
        stamp = stamped(current, self._written, datetime.now(UTC))
        try:
            await self._apply(record.mesh, record.node, stamp)
        except ApiError as error:
            log.debug("status not written", why=str(error))
            return
        self._written, self._written_at = stamp, time.monotonic()

    async def _apply(self, mesh: str, node: str, stamp: NodeReport) -> None:
        name = node_object_name(mesh, node)
        body = {
            "apiVersion": API_VERSION,
            "kind": "WgMeshNode",
            "metadata": {"name": name},
            "status": stamp.to_status(),
        }
        await self._api.apply(nodes_path(name, status=True), body)

    async def _report(self, session: Session) -> NodeReport:
        node = session.node
        record, identity = node.record, node.identity
        expected, externals = members_wanted(session, self._view)
        joined = not node.is_alone() or not expected
        base = NodeReport(
            phase="Joined",
            public_key=str(identity.private_key.public()),
            endpoint=str(identity.endpoint),
            backend=node.backend.kind.value,
            interface=identity.interface,
            mtu=identity.mtu,
            agent_version=version("wgmesh"),
            ready=joined,
            ready_reason="Joined" if joined else "Alone",
            ready_message="" if joined else "no other member is alive in gossip",
        )
        base = certified(base, self._credentials.files.leaf(), self._credentials.files.authorities)
        device = await node.device()
        return report(
            base, seen_by(session, device), expected, externals if record.bootstrap else frozenset()
        )

    async def _renew(self, session: Session) -> None:
        """Asks for a certificate when the old one is two thirds over, says other things than it must, or the authority
        changed; and takes over new authorities at once."""
        while True:
            own, mesh = self._view.own, self._view.mesh
            if (
                self._view.synced
                and own is not None
                and mesh is not None
                and not own.deleting
                and mesh.trust_bundle
            ):
                try:
                    await self._renew_if_due(own, mesh.trust_bundle.encode())
                except (ApiError, RequestDenied, OSError, ValueError) as error:
                    log.warning("certificate not renewed", why=str(error), retry_seconds=RETRY_SECONDS)
                    await asyncio.sleep(RETRY_SECONDS)
            await self._view.changes.after(self._view.changes.generation, RENEWAL_LOOK_SECONDS)

    async def _renew_if_due(self, own: RosterNode, authorities: bytes) -> None:
        files = self._credentials.files
        if files.authorities != authorities:
            self._credentials.files = await asyncio.to_thread(
                self._identity.save, files.certificate, authorities
            )
            log.info("authorities renewed")
        wanted = self._wanted(own)
        if not is_good(self._credentials.files, wanted, own.created, now()):
            self._credentials.files = await ask(self._api, self._identity, wanted, authorities)
            log.info(
                "certificate renewed", until=self._credentials.files.leaf().not_valid_after_utc.isoformat()
            )
            self._view.changes.bump()

    def _wanted(self, own: RosterNode) -> Wanted:
        return wanted_of(own, self._view)


def wanted_of(own: RosterNode, view: RosterView) -> Wanted:
    """What this node's certificate must say now."""
    role = Role.BOOTSTRAP if own.bootstrap else Role.NODE
    seconds = int(view.mesh.certificate_lifetime_seconds) if view.mesh is not None else 0
    return Wanted(NodeIdentity(own.mesh, own.node, role), own.addresses, max(600, seconds), own.uid)


def members_wanted(session: Session, view: RosterView) -> tuple[frozenset[str], frozenset[str]]:
    """The names of all other members there should be, and of those of them outside the cluster."""
    node = session.node
    names = {entry.node: entry.external for entry in view.nodes.values() if not entry.deleting}
    if not view.synced:
        names = {binding.claim.node: False for binding in node.ledger if binding.claim.node}
    return wanted_peers(names, node.record.node)


def claim_of(entry: RosterNode) -> Claim | None:
    """What the roster says of a member; None while its agent has not said which key it has."""
    try:
        key = PublicKey.from_base64(entry.report.public_key)
    except InvalidKeyError:
        return None
    if not entry.addresses:
        return None
    try:
        endpoints: tuple[Endpoint, ...] = (Endpoint.parse(entry.report.endpoint),)
    except ValueError:
        endpoints = ()
    return Claim(entry.node, key, entry.addresses, endpoints, entry.bootstrap)


def seen_by(session: Session, device: Device) -> list[Seen]:
    """All bound peers as this node sees them now."""
    node = session.node
    links = node.prober.links()
    members = node.gossip.members()
    found = []
    for binding in node.ledger:
        claim = binding.claim
        member = members.get(claim.node)
        peer = device.peers.get(claim.public_key)
        found.append(
            Seen(
                node=claim.node,
                alive=member is not None and member.status is MemberStatus.ALIVE,
                failed=member is not None and member.status is MemberStatus.FAILED,
                link=links.get(claim.node),
                handshake_seconds_ago=time.time() - peer.last_handshake
                if peer and peer.last_handshake
                else None,
                public_key=str(claim.public_key),
                endpoint=str(peer.endpoint) if peer and peer.endpoint else "",
            )
        )
    return found
