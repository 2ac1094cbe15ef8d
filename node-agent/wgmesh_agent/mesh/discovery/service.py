"""Endpoint discovery: tracks advertised endpoints, queries members about unreachable peers, and answers such
queries.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import structlog

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.mesh.dataplane.indirect_paths import IndirectPaths
from wgmesh_agent.mesh.discovery.candidate_selector import MOVE_GRACE_SECONDS, CandidateSelector
from wgmesh_agent.mesh.discovery.endpoint_query import (
    WHERE_QUERY,
    EndpointAnswerError,
    decode_endpoints,
    encode_endpoints,
)
from wgmesh_agent.mesh.discovery.local_addresses import LocalAddresses
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.ledger import Ledger, usable_endpoints
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.probing.alive_links import alive_links
from wgmesh_agent.mesh.probing.service import ProbeService
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.runtime.task_set import TaskSet
from wgmesh_agent.wireguard.endpoint_candidates import STALE_AFTER_SECONDS, elsewhere
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer, Device, Endpoint

log = structlog.get_logger()
ANSWERS = border("endpoint answers", "to `_where`: where members observe another, from those queried")
QUERIED_MEMBERS = 3
SHARED_SECONDS = 0.5
"""Maximum age of a device read that concurrent endpoint queries share."""
QUERY_SECONDS = 2.0
RELAY_FACTOR = 2
TICK_SECONDS = 1.0
IDLE_TICK_SECONDS = 5.0
MEMBERS_PER_SECOND = 5000
FAST_RETRY_SECONDS = 60.0
"""For this long candidates are tried in turn as fast as possible; after that, with each pass of the reconciler."""


class EndpointDiscovery:
    """Endpoint discovery for all peers of a node."""

    def __init__(
        self,
        members: MemberView,
        ledger: Ledger,
        prober: ProbeService,
        refusals: RejectionLog,
        device: DeviceCache,
        local: LocalNode,
        addresses: LocalAddresses,
        suspect: Signal,
        changes: Signal,
        indirect: IndirectPaths,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """
        Args:
            addresses: of this machine's interfaces, at which no other member is.
            suspect: notified when a reachable peer becomes unreachable.
            indirect: the peers that are reached only via others; their direct paths are searched for.
        """
        self._members = members
        self._ledger = ledger
        self._prober = prober
        self._refusals = refusals
        self._device = device
        self._local = local
        self._addresses = addresses
        self._clock = clock
        self._rng = rng
        self._seeking = CandidateSelector(rng)
        self._troubled: dict[PublicKey, float] = {}
        self._suspect = suspect
        self._changes = changes
        self._indirect = indirect
        self._hinted = False

    def refine(self, desired: DesiredDevice, actual: Device, now_unix: float) -> DesiredDevice:
        """The desired device with the candidates of every peer in the order to try."""
        links, untaken = self._prober.links(), self._indirect.untaken()
        changed: dict[PublicKey, DesiredPeer] = {}
        for peer in desired.peers:
            key = peer.public_key
            binding, held = self._ledger.by_key(key), actual.peers.get(key)
            if binding is None or (
                held is not None and key not in untaken and self._seeking.is_settled(held, now_unix)
            ):
                continue
            claim = binding.claim
            link = links.get(claim.node)
            # Probes that arrive via a relay prove nothing about the direct path.
            ago = untaken.get(key, link.last_received_seconds_ago if link else None)
            order = elsewhere(self._seeking.candidates(claim, self._local.endpoint), self._addresses.latest)
            now = self._seeking.next_candidate(claim, held, order, ago, now_unix) if held else None
            changed[key] = replace(peer, endpoints=order, try_now=now)
        if not changed:
            return desired
        return replace(desired, peers=tuple(changed.get(peer.public_key, peer) for peer in desired.peers))

    def hinted(self, key: PublicKey, endpoint: Endpoint) -> None:
        """The roster states a current endpoint of a member."""
        self._seeking.hinted(key, endpoint, self._clock.unix())
        self._hinted = True

    async def answer_query(self, request: QueryReceived) -> bytes:
        """Answers the query `_where`: this node's endpoints, or those at which it observes the given member; an empty
        answer too, because the querying node would wait for it.
        """
        node = request.payload.decode("ascii", "replace")
        try:
            return encode_endpoints(await self._endpoints_of(node))
        except BackEndError as error:
            log.warning("endpoint query not answered", node=node, error=str(error))
            return encode_endpoints(())

    async def _endpoints_of(self, node: str) -> Sequence[Endpoint]:
        if node == self._ledger.local.node:
            return await self._own_endpoints()
        binding = self._ledger.by_name(node)
        link = self._prober.links().get(node)
        if (
            binding is None
            or (link is not None and not link.receiving)
            or binding.claim.public_key in self._indirect.untaken()
        ):
            return ()
        peer = (await self._device.read(SHARED_SECONDS)).peers.get(binding.claim.public_key)
        if (
            peer is None
            or peer.endpoint is None
            or self._clock.unix() - peer.last_handshake > STALE_AFTER_SECONDS
        ):
            return ()
        return [peer.endpoint]

    async def _own_endpoints(self) -> Sequence[Endpoint]:
        """The endpoints at which this node itself can be reached, best first. Raises KernelError."""
        local, port = self._local, self._local.listen_port
        found = [local.endpoint, *(Endpoint(one, port) for one in await self._addresses.candidates())]
        return usable_endpoints(found, local.ranges)

    async def observed_endpoints(self, node: str, *also: str) -> tuple[list[Endpoint], list[Endpoint]]:
        """The endpoints of `node` as reported by some members: those they have learned, and those that the members in
        `also` report.

        Members in `also` are queried although there may be no path to them, or back: via all members, which forward the
        query. Other members are queried directly, if any are reachable.
        """
        own = self._ledger.local.node
        alive = [name for name in self._members.alive() if name not in (own, node)]
        links = self._prober.links() if not also else {}
        near = [
            name
            for name in alive
            if (link := links.get(name)) is not None and link.receiving and link.peer_receiving
        ]
        among = near or alive
        asked = self._rng.sample(among, min(len(among), QUERIED_MEMBERS))
        if not asked and not also:
            return [], []
        try:
            result = await self._members.query(
                WHERE_QUERY,
                node.encode(),
                nodes=[*asked, *also],
                direct=bool(near),
                relay_factor=0 if near else RELAY_FACTOR,
                timeout=QUERY_SECONDS,
            )
        except GossipError as error:
            log.warning("endpoint query failed", node=node, error=str(error))
            return [], []
        learned: list[Endpoint] = []
        said: list[Endpoint] = []
        for name, answer in result.responses.items():
            try:
                found = decode_endpoints(answer, self._ledger.local.ranges)
            except EndpointAnswerError as error:
                self._refusals.record("malformed_endpoint_answer", f"{name} answers {error}")
                continue
            if name in also:
                said += found
            else:
                learned += found[:1]
        return learned, said

    async def run(self) -> None:
        """Runs until cancelled."""
        changes = self._changes
        async with TaskSet() as queries:
            while True:
                generation = changes.generation
                now = self._clock.monotonic()
                moved, self._hinted = self._update() or self._hinted, False
                due = self._seeking.due(self._unreachable_peers(now), now)
                self._probe(due.probe)
                for key in (*due.ask, *due.ask_widely):
                    queries.start(self._query(key, widely=key in due.ask_widely), "endpoint query")
                fresh = any(
                    now - since < FAST_RETRY_SECONDS and self._has_alternatives(key)
                    for key, since in self._troubled.items()
                )
                if fresh:
                    self._device.request()
                if moved:
                    # By then a member that moved sends on its old path, or is searched for on the new one.
                    await asyncio.sleep(MOVE_GRACE_SECONDS)
                    self._device.request()
                elif not await changes.wait_after(
                    generation, TICK_SECONDS if self._is_busy(now) else IDLE_TICK_SECONDS
                ):
                    continue
                # Many changes are handled as one: in a large mesh an update is expensive.
                await asyncio.sleep(max(TICK_SECONDS / 4, len(self._ledger) / MEMBERS_PER_SECOND))

    def _update(self) -> bool:
        moved = self._seeking.update((binding.claim for binding in self._ledger), self._clock.unix())
        claims = self._probe(moved)
        if claims:
            log.info("peer endpoints changed", nodes=[claim.node for claim in claims])
        return bool(claims)

    def _probe(self, keys: Sequence[PublicKey]) -> list[Claim]:
        """Requests immediate probes of these members: their own next probe may be minutes away."""
        claims = [binding.claim for key in keys if (binding := self._ledger.by_key(key)) is not None]
        if claims:
            self._prober.probe_now(claim.addresses[0] for claim in claims)
        return claims

    def _has_alternatives(self, key: PublicKey) -> bool:
        binding = self._ledger.by_key(key)
        return binding is not None and len(self._seeking.candidates(binding.claim, self._local.endpoint)) > 1

    def _is_busy(self, now: float) -> bool:
        return any(now - since < FAST_RETRY_SECONDS for since in self._troubled.values())

    def _unreachable_peers(self, now: float) -> dict[PublicKey, float]:
        """The members that gossip reports alive and that are unreachable on a direct path: since when."""
        troubled: dict[PublicKey, float] = {}
        untaken = self._indirect.untaken()
        for claim, link in alive_links(self._ledger, self._members.all(), self._prober.links()):
            key = claim.public_key
            if link.receiving and key not in untaken:
                continue
            troubled[key] = self._troubled.get(key, now)
            if (
                key not in self._troubled
                and not link.receiving
                and link.last_received_seconds_ago is not None
            ):
                self._suspect.notify()
        self._troubled = troubled
        return troubled

    async def _query(self, key: PublicKey, *, widely: bool) -> None:
        binding = self._ledger.by_key(key)
        if binding is None:
            return
        claim: Claim = binding.claim
        with ANSWERS.fence(claim.node):
            learned, said = await self.observed_endpoints(claim.node, *((claim.node,) if widely else ()))
            if self._seeking.add_observed(key, (*learned, *said)):
                log.info(
                    "endpoint candidates found", node=claim.node, seen=[str(one) for one in (*learned, *said)]
                )
                self._device.request()
