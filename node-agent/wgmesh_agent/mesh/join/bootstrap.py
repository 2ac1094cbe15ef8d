"""A bootstrap node's extra work: admitting joiners, and agreeing on addresses with the other bootstrap nodes."""

from __future__ import annotations

import asyncio
import secrets
import time
from ipaddress import IPv4Network, IPv6Network

import structlog

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.serf.query_responder import PING_QUERY
from wgmesh_agent.linux.port_owner import needing
from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.join.address_allocator import AddressAllocator
from wgmesh_agent.mesh.join.address_claims import QUERY as CLAIM_QUERY
from wgmesh_agent.mesh.join.address_claims import AddressClaims
from wgmesh_agent.mesh.join.registrar import JOIN_DEADLINE_SECONDS, Registrar
from wgmesh_agent.mesh.join.server import GossipKeys, MeshFacts, MeshServer, MeshService, serve
from wgmesh_agent.mesh.join.tokens import TOKEN_BYTES, TokenStore
from wgmesh_agent.mesh.membership.claims import Binding, Claim
from wgmesh_agent.mesh.membership.member_view import LIVING
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.model import IPAddress, Network
from wgmesh_api.meshservice_pb2 import Peer

log = structlog.get_logger()
PING_TIMEOUT_SECONDS = 3.0
SWEEP_SECONDS = 10.0
STOP_GRACE_SECONDS = 1.0


class BootstrapServer:
    """The Mesh service on top of a running node."""

    def __init__(self, node: MeshNode, ranges: tuple[IPv4Network | IPv6Network, ...]) -> None:
        self._node = node
        self._policy = node.policies.membership
        self._server: MeshServer | None = None
        self._is_sweeping = False
        self.registrar = Registrar(node.local.record.mesh, node.ledger, AddressAllocator(ranges), self)
        self._claims = AddressClaims(node.gossip, node.admissions, node.rejections, self.registrar.reserve)
        node.gossip.on_query(CLAIM_QUERY, self._claims.answer)

    async def start(self, bind: str, tls: Credentials | None) -> None:
        """Serves gRPC on `bind` (`address:port`). Raises OSError if it cannot."""
        node = self._node
        facts = MeshFacts(
            name=node.local.record.mesh,
            ranges=node.local.record.ranges,
            created_unix=node.local.record.created_unix,
            gossip_port=node.local.record.gossip_port,
            profile=node.local.record.profile,
        )
        service = MeshService(
            facts,
            self.registrar,
            TokenStore(lambda: secrets.token_urlsafe(TOKEN_BYTES)),
            own=node.admissions.local_record,
            vouch=node.admissions.record_for_peer,
            requires_admission=node.admissions.required,
            gossip_keys=lambda: GossipKeys(
                node.local.record.gossip_keys, node.local.record.gossip_keys_since
            ),
            own_key=lambda: node.local.private_key,
            denied=lambda reason: node.rejections.counts.update([f"join_{reason.value}"]),
        )
        port = int(bind.rpartition(":")[2])
        with needing(port, ("tcp",), "admission of members; -grpc-bind-port, spec.bootstrap.port"):
            self._server = await serve(service, bind, tls)
        if not self._is_sweeping:
            self._is_sweeping = True
            node.tasks.keep(self._sweep, "sweep")

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(STOP_GRACE_SECONDS)

    def is_alive(self, node: str) -> bool:
        member = self._node.gossip.members().get(node)
        return member is not None and member.status in LIVING

    async def is_reachable(self, binding: Binding) -> bool:
        node = binding.claim.node
        try:
            before = await self._received(binding)
            result = await self._node.gossip.query(
                PING_QUERY, nodes=[node], ack=True, timeout=PING_TIMEOUT_SECONDS
            )
            # Others could answer in its name, but not through its tunnel.
            return node in result.acks and await self._received(binding) > before
        except (GossipError, BackEndError) as error:
            log.warning("liveness query failed", node=node, error=str(error))
            return False

    async def _received(self, binding: Binding) -> int:
        """Bytes that came through a member's tunnel so far."""
        peer = (await self._node.device.read()).peers.get(binding.claim.public_key)
        return peer.rx_bytes if peer is not None else 0

    def bootstraps(self) -> tuple[str, ...]:
        others = (binding.claim.node for binding in self._node.ledger if binding.claim.bootstrap)
        return (self._node.local.record.node, *others)

    def assigned_addresses(self, node: str, caller: Caller) -> tuple[IPAddress, ...] | None:
        return self._policy.assigned_addresses(node, caller)

    def allowed_routes(self, node: str, asked: tuple[Network, ...]) -> tuple[Network, ...]:
        given = self._policy.allowed_routes(node, asked)
        for route in asked:
            if route not in given:
                self._node.rejections.record(
                    "route_not_allowed", f"{node} asks to announce {route}, which it was not given"
                )
        return given

    async def claim_elsewhere(self, claim: Claim) -> bool:
        others = [name for name in self.bootstraps()[1:] if self.is_alive(name)]
        return await self._claims.ask(claim, others)

    async def on_admitted(self, binding: Binding, replaced: Binding | None) -> None:
        node = self._node
        if replaced is not None:
            log.warning(
                "member key replaced", node=binding.claim.node, pubkey=str(binding.claim.public_key),
                instead_of=str(replaced.claim.public_key),
            )  # fmt: skip
        vouched = node.admissions.record_for_peer(binding.claim)
        # Who was told an address must find it taken after a power cut here.
        await asyncio.gather(node.reconciler.reconcile(check_interface=False), node.snapshot.write_now())
        node.announce(vouched)
        node.changes.notify()

    async def on_reservation_expired(self, binding: Binding) -> None:
        log.warning("join reservation expired", node=binding.claim.node, after_seconds=JOIN_DEADLINE_SECONDS)
        self._node.announce(binding.claim, Peer.LEAVE)
        self._node.device.request()
        self._node.changes.notify()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.registrar.sweep(time.time())
            self._announce_routes()

    def _announce_routes(self) -> None:
        """Members whose routes are others now: who sees no roster hears of it so."""
        admissions = self._node.admissions
        for binding in list(self._node.ledger):
            claim = binding.claim
            record = claim.admission
            if (
                record is not None
                and self._policy.allowed_routes(claim.node, claim.routes or ()) != record.routes
            ):
                vouched = admissions.record_for_peer(claim)
                if vouched.admission is not record:
                    log.info("routes changed", node=claim.node, routes=[str(r) for r in vouched.routes or ()])
                    self._node.announce(vouched)
