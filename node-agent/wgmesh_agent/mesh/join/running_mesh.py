"""The running mesh as the registrar sees it: live members, grants of the policy, and the effects of an admission."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.serf.query_responder import PING_QUERY
from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.mesh.dataplane.reconciler import Reconciler
from wgmesh_agent.mesh.join.address_claims import AddressClaimQuery
from wgmesh_agent.mesh.join.registrar import JOIN_DEADLINE_SECONDS
from wgmesh_agent.mesh.membership.admissions import AdmissionService
from wgmesh_agent.mesh.membership.announcements import Announcer
from wgmesh_agent.mesh.membership.claims import Binding, Claim
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import LIVING, MemberView
from wgmesh_agent.mesh.membership.policy import MembershipPolicy
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.debounced_writer import DebouncedWriter
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.model import IPAddress, Network
from wgmesh_api.meshservice_pb2 import Peer

log = structlog.get_logger()
PING_TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningMesh:
    """Implements the registrar's `MeshPort` by the parts of a running node.

    Attributes:
        snapshot: the members on disk.
        changes: notified when an admission is completed or reverted.
    """

    ledger: Ledger
    members: MemberView
    device: DeviceCache
    policy: MembershipPolicy
    admissions: AdmissionService
    rejections: RejectionLog
    address_claims: AddressClaimQuery
    announcer: Announcer
    reconciler: Reconciler
    snapshot: DebouncedWriter
    changes: Signal

    def is_alive(self, node: str) -> bool:
        member = self.members.all().get(node)
        return member is not None and member.status in LIVING

    async def is_reachable(self, binding: Binding) -> bool:
        node = binding.claim.node
        try:
            before = await self._received_bytes(binding)
            result = await self.members.query(
                PING_QUERY, nodes=[node], ack=True, timeout=PING_TIMEOUT_SECONDS
            )
            # Other members could answer in its name, but not through its tunnel.
            return node in result.acks and await self._received_bytes(binding) > before
        except (GossipError, BackEndError) as error:
            log.warning("liveness query failed", node=node, error=str(error))
            return False

    async def _received_bytes(self, binding: Binding) -> int:
        """Bytes received through a member's tunnel so far."""
        peer = (await self.device.read()).peers.get(binding.claim.public_key)
        return peer.rx_bytes if peer is not None else 0

    def bootstraps(self) -> tuple[str, ...]:
        others = (binding.claim.node for binding in self.ledger if binding.claim.bootstrap)
        return (self.ledger.local.node, *others)

    def assigned_addresses(self, node: str, caller: Caller) -> tuple[IPAddress, ...] | None:
        return self.policy.assigned_addresses(node, caller)

    def allowed_routes(self, node: str, asked: tuple[Network, ...]) -> tuple[Network, ...]:
        given = self.policy.allowed_routes(node, asked)
        for route in asked:
            if route not in given:
                self.rejections.record(
                    "route_not_allowed", f"{node} requests to advertise {route}, which is not granted to it"
                )
        return given

    async def claim_elsewhere(self, claim: Claim) -> bool:
        others = [name for name in self.bootstraps()[1:] if self.is_alive(name)]
        return await self.address_claims.ask(claim, others)

    async def on_admitted(self, binding: Binding, replaced: Binding | None) -> None:
        if replaced is not None:
            log.warning(
                "member key replaced",
                node=binding.claim.node,
                pubkey=str(binding.claim.public_key),
                instead_of=str(replaced.claim.public_key),
            )
        vouched = self.admissions.record_for_peer(binding.claim)
        # An address that a joiner received must still be known as taken after a power failure here.
        await asyncio.gather(self.reconciler.reconcile(check_interface=False), self.snapshot.write_now())
        self.announcer.send(vouched)
        self.changes.notify()

    async def on_reservation_expired(self, binding: Binding) -> None:
        log.warning("join reservation expired", node=binding.claim.node, after_seconds=JOIN_DEADLINE_SECONDS)
        self.announcer.send(binding.claim, Peer.LEAVE)
        self.device.request()
        self.changes.notify()
