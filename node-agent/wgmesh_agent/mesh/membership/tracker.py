"""Applies gossip and announcements to the ledger: binds and removes members."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import structlog
from google.protobuf.message import DecodeError

from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.admissions import AdmissionService
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.departures import Departures, Tunnels
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import LIVING, MemberView
from wgmesh_agent.mesh.membership.peer_codec import PeerMessageError, claim_from_peer
from wgmesh_agent.mesh.membership.policy import MembershipPolicy
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.membership.secret_ids import decode_ids
from wgmesh_agent.mesh.membership.tags import PUBLIC_KEY, SECRETS, TagsError, claim_from_tags
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.chunks import in_chunks
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.wireguard.model import IPAddress, Network
from wgmesh_api.meshservice_pb2 import Peer

log = structlog.get_logger()
FORGET_AFTER_SECONDS = 24 * 3600.0
FORGET_UNSEEN_AFTER_SECONDS = 600.0
DEPARTING_LOOK_SECONDS = 0.5


class MembershipTracker:
    """Applies changes to the ledger; `changed` is notified when WireGuard, snapshot or listeners may be affected."""

    def __init__(
        self,
        ledger: Ledger,
        refusals: RejectionLog,
        members: MemberView,
        admissions: AdmissionService,
        departures: Departures,
        tunnels: Tunnels,
        policy: MembershipPolicy,
        changed: Signal,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._refusals = refusals
        self._admissions = admissions
        self._members = members
        self._policy = policy
        self._changed = changed
        self._clock = clock
        self._tunnels = tunnels
        self._departures = departures
        self._departing = asyncio.Event()

    def on_member_update(self, member: Member) -> None:
        """Gossip reports a change of a member: binds or updates a live one, removes one that left."""
        if member.name == self._ledger.local.node:
            return
        if member.status in LIVING:
            self._on_alive(member)
        elif member.status is MemberStatus.LEFT:
            self._on_leave(member, "left")

    def is_bound(self, name: str) -> bool:
        """Whether the name is this node's own, or that of a member in the ledger."""
        return name == self._ledger.local.node or self._ledger.by_name(name) is not None

    def on_reaped(self, member: Member) -> None:
        """Gossip reaped a member that had failed or left long ago."""
        self._on_leave(member, "reaped")

    async def watch_departing(self) -> None:
        """Removes departed members once they are silent, until cancelled."""
        while True:
            await self._departing.wait()
            self._look_at_departing()
            if not self._departures:
                self._departing.clear()
            else:
                await asyncio.sleep(DEPARTING_LOOK_SECONDS)

    def _look_at_departing(self) -> None:
        for departed in self._departures.look(self._clock.monotonic(), self._tunnels):
            name = departed.member.name
            if departed.lives:
                self._refusals.record(
                    "leave_of_member",
                    f"gossip reports that {name} has left ({departed.how}), but its link is up",
                )
            else:
                self._let_go(name, departed.how)
                again = self._members.all().get(name)
                if again is not None and again.status in LIVING:
                    self._on_alive(again)

    def on_announcement(self, payload: bytes) -> None:
        """Handles a `_j` user event."""
        try:
            peer = Peer.FromString(payload)
            claim = claim_from_peer(peer)
        except (DecodeError, PeerMessageError) as error:
            self._refusals.record("malformed_announcement", str(error))
            return
        if peer.type == Peer.LEAVE:
            self._on_announced_leave(claim)
        elif claim.public_key != self._ledger.local.public_key:
            self.accept(claim, Origin.ANNOUNCED)

    def accept(self, claim: Claim, origin: Origin) -> bool:
        """Accepts a claim into the ledger, or counts and logs the rejection; a bootstrap node overrides existing
        bindings.
        """
        if claim.node and not self._policy.admits(claim.node):
            self._refusals.record(
                "not_listed", f"{claim.node} is not a member: it is missing from the roster"
            )
            return False
        if origin in (Origin.PEERS, Origin.ROSTER):
            claim, overrides = self._admissions.strip_unverified(claim), True
        else:
            judged = self._admissions.verify(claim)
            if judged is None:
                return False
            claim, overrides = judged
            origin = Origin.RECORD if overrides else origin
        if not self._policy.takes_routes_from_claims() and origin is not Origin.ROSTER:
            claim = replace(claim, routes=None)
        if origin is not Origin.GOSSIP:
            claim = self._with_advertised_secrets(claim)
        before = self._ledger.by_key(claim.public_key)
        take = self._ledger.bind if overrides else self._ledger.accept
        refusal = take(claim, origin, self._clock.unix())
        if refusal is not None:
            self._refusals.record(refusal.reason.value, refusal.message)
            return False
        self._admissions.missing.settled(claim.node)
        after = self._ledger.by_key(claim.public_key)
        if before is None:
            log.info(
                "member bound",
                node=claim.node,
                pubkey=str(claim.public_key),
                origin=origin.value,
                addresses=[str(a) for a in claim.addresses],
            )
        if before != after:
            self._changed.notify()
        return True

    def _with_advertised_secrets(self, claim: Claim) -> Claim:
        """Secret ids count as advertised by a live member itself; those from others may be older. With a key that the
        member does not use yet, they count only in the absence of others.
        """
        member = self._members.all().get(claim.node)
        if member is None or member.status not in LIVING:
            return claim
        if claim.secret_ids is not None and member.tags.get(PUBLIC_KEY) != str(claim.public_key):
            return claim
        try:
            return replace(claim, secret_ids=decode_ids(member.tags.get(SECRETS, "")))
        except ValueError:
            return claim

    def set_routes(self, node: str, routes: tuple[Network, ...]) -> None:
        """The roster states the networks behind a member."""
        binding = self._ledger.by_name(node)
        if binding is not None and (binding.claim.routes or ()) != routes:
            self._ledger.accept(replace(binding.claim, routes=routes), binding.origin, binding.since)
            log.info("member routes changed", node=node, routes=[str(route) for route in routes])
            self._changed.notify()

    def hint(self, node: str, address: IPAddress) -> Binding | None:
        """The roster states the address at which external machines reach a member: the first candidate after its
        advertised endpoint, at the same port. Returns the member, if the address is usable and new.
        """
        binding = self._ledger.by_name(node)
        if binding is None or not binding.claim.endpoints:
            return None
        told, *before = binding.claim.endpoints
        outer = replace(told, address=address)
        self._ledger.accept(
            replace(binding.claim, endpoints=(told, outer, *before)), binding.origin, binding.since
        )
        after = self._ledger.by_name(node)
        if after is None or after.claim.endpoints == binding.claim.endpoints:
            return None
        self._changed.notify()
        return after

    def remove(self, node: str, why: str) -> None:
        """Removes a member that is no longer in the roster."""
        self._departures.back(node)
        self._let_go(node, why)

    def _let_go(self, node: str, why: str) -> None:
        binding = self._ledger.by_name(node)
        if binding is not None:
            self._ledger.remove(binding.claim.public_key)
            log.info("member removed", node=node, how=why)
            self._changed.notify()

    async def refresh(self) -> None:
        """Binds members that were missed, and removes those absent for too long; every minute or so."""
        await self.mark_alive_members()
        now = self._clock.unix()
        members = self._members.all()
        for member in members.values():
            if member.status in LIVING and self._ledger.by_name(member.name) is None:
                self.on_member_update(member)
                await asyncio.sleep(0)
        for binding in list(self._ledger):
            if (
                binding.claim.node not in members
                and self._is_stale(binding, now)
                and not self._tunnels.has_session(binding.claim.public_key)
            ):
                log.info(
                    "member expired",
                    node=binding.claim.node,
                    pubkey=str(binding.claim.public_key),
                    last_seen=int(binding.last_seen),
                )
                self._ledger.remove(binding.claim.public_key)
                self._changed.notify()

    async def mark_alive_members(self) -> None:
        """Records the members alive now."""
        now = self._clock.unix()
        members = self._members.all()

        def note(binding: Binding) -> None:
            member = members.get(binding.claim.node)
            if (
                member is not None
                and member.status in LIVING
                and member.tags.get(PUBLIC_KEY) == str(binding.claim.public_key)
            ):
                self._ledger.mark_alive(binding.claim.public_key, now)

        await in_chunks(list(self._ledger), note)

    async def disputed_claims(self) -> list[Claim]:
        """The rejected claims of live members about themselves: other bindings conflict, or a record is missing."""
        members = self._members.all()
        disputed = [
            claim
            for claim in self._admissions.missing.asked_in_vain()
            if (member := members.get(claim.node)) is not None and member.status in LIVING
        ]

        def look(member: Member) -> None:
            if member.status not in LIVING or member.name == self._ledger.local.node:
                return
            binding = self._ledger.by_name(member.name)
            if (
                binding is not None
                and member.tags.get(PUBLIC_KEY) == str(binding.claim.public_key)
                and member.address in binding.claim.addresses
            ):
                return
            with contextlib.suppress(TagsError):
                claim = claim_from_tags(member.name, member.tags)
                if claim is not None and self._ledger.is_conflicting(claim):
                    disputed.append(claim)

        await in_chunks(list(members.values()), look)
        return disputed

    def has_failed_bootstrap(self) -> bool:
        """Whether a bootstrap node is bound that gossip does not report alive."""
        return bool(self.failed_bootstraps())

    def failed_bootstraps(self) -> list[str]:
        """The names of bound bootstrap nodes that gossip does not report alive."""
        return [binding.claim.node for binding in self.failed() if binding.claim.bootstrap]

    def failed(self) -> list[Binding]:
        """Bound members that gossip does not report alive."""
        members = self._members.all()
        return [
            binding
            for binding in self._ledger
            if (member := members.get(binding.claim.node)) is None or member.status not in LIVING
        ]

    def unknown_to_gossip(self) -> list[Binding]:
        """Bound members that gossip does not know (yet): this node restarted, or they have not joined it."""
        members = self._members.all()
        return [binding for binding in self._ledger if binding.claim.node not in members]

    @staticmethod
    def _is_stale(binding: Binding, now: float) -> bool:
        if binding.last_seen:
            return now - binding.last_seen > FORGET_AFTER_SECONDS
        return now - binding.since > FORGET_UNSEEN_AFTER_SECONDS

    def _on_alive(self, member: Member) -> None:
        self._departures.back(member.name)
        try:
            claim = claim_from_tags(member.name, member.tags)
        except TagsError as error:
            self._refusals.record("malformed_tags", str(error))
            return
        if claim is None:
            return
        if member.address not in claim.addresses:
            self._refusals.record(
                "address_mismatch",
                f"{member.name} gossips from {member.address} but claims the mesh address {claim.addresses[0]}",
            )
            return
        if self.accept(claim, Origin.GOSSIP):
            self._ledger.mark_alive(claim.public_key, self._clock.unix())
            if claim.bootstrap:
                self._admissions.missing.retry_now()

    def _on_leave(self, member: Member, how: str) -> None:
        self._admissions.missing.settled(member.name)
        binding = self._ledger.by_name(member.name)
        if binding is None or member.tags.get(PUBLIC_KEY, str(binding.claim.public_key)) != str(
            binding.claim.public_key
        ):
            return
        if self._departures.awaits(member, how, self._tunnels):
            self._departing.set()
        else:
            self._let_go(member.name, how)

    def _on_announced_leave(self, claim: Claim) -> None:
        binding = self._ledger.by_key(claim.public_key)
        if binding is None:
            return
        member = self._members.all().get(binding.claim.node)
        # Reverts only the admission of a joiner that never joined: a member that was alive leaves through gossip
        # itself.
        is_there = bool(binding.last_seen) if member is None else member.status is not MemberStatus.LEFT
        if is_there or self._tunnels.has_session(claim.public_key):
            self._refusals.record(
                "leave_of_member",
                f"an announcement reports that {binding.claim.node} left, but gossip does not",
            )
            return
        self._let_go(binding.claim.node, "announced")
