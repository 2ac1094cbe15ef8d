"""Relay service: agrees on a relay with the far end of a link that is down, keeps probing the direct path, and forwards
if this node is a configured relay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from google.protobuf.message import DecodeError

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.linux.ip_forwarding import ForwardingPurpose, IPForwarding
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.probing.alive_links import alive_links
from wgmesh_agent.mesh.probing.service import ProbeService
from wgmesh_agent.mesh.relay.relay_selector import RelayProposal, RelaySelector
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.runtime.log_on_change import LogOnChange
from wgmesh_agent.runtime.task_set import TaskSet
from wgmesh_agent.wireguard.errors import BackEndError, KernelError
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, Device
from wgmesh_api.meshservice_pb2 import RelayRequest

log = structlog.get_logger()
ANSWERS = border("relay answers", "to `_relay`: which members accept a path via a relay, from those queried")
RELAY_QUERY = "_relay"
YES, NO = b"\x01", b"\x00"
QUERY_SECONDS = 2.0
RELAY_FACTOR = 2
TICK_SECONDS = 1.0
FORWARDING_CHECK_SECONDS = 15.0
"""Interval of the check that this machine still forwards: the interface may have been re-created."""
MAX_REQUEST_BYTES = 512
EMPTY_DEVICE = Device("")


class RelayService:
    """Relaying for a node. Without names it does nothing."""

    def __init__(
        self,
        names: Sequence[str],
        forwarding: IPForwarding,
        members: MemberView,
        ledger: Ledger,
        prober: ProbeService,
        refusals: RejectionLog,
        changes: Signal,
        device: DeviceCache,
        clock: Clock,
    ) -> None:
        """
        Args:
            names: the members that may relay, best first; this node relays if it is one of them.
        """
        self._names = tuple(names)
        self._forwarding = forwarding
        self._members = members
        self._ledger = ledger
        self._prober = prober
        self._refusals = refusals
        self._changes = changes
        self._device = device
        self._clock = clock
        self._relays = RelaySelector(ledger.local)
        self._adopted = False
        self._is_forwarding = False
        self._fault = LogOnChange()

    @property
    def is_open(self) -> bool:
        """Whether this node forwards for peers."""
        return self._is_forwarding

    def relays_in_use(self) -> dict[PublicKey, str]:
        """The relayed peers, and the names of their relays."""
        found = {}
        for peer, relay in self._relays.relays_in_use().items():
            binding = self._ledger.by_key(relay)
            if binding is not None:
                found[peer] = binding.claim.node
        return found

    def untaken(self) -> dict[PublicKey, float | None]:
        """The peers that are reachable only via a relay, and for how many seconds their own tunnel has been down; None:
        for as long as they have been relayed.
        """
        return self._relays.untaken(self._clock.monotonic())

    def refine(self, desired: DesiredDevice, actual: Device, now_unix: float) -> DesiredDevice:
        """The desired device with relayed peers' addresses at their relays."""
        if not self._names:
            return desired
        if not self._adopted:
            self._adopted = True
            self._relays.restore_from_device(desired, actual, self._clock.monotonic())
        return self._relays.refine(desired)

    async def answer_query(self, request: QueryReceived) -> bytes:
        """Answers the query `_relay`: whether this node relays, or accepts the proposal of the other end of a link."""
        try:
            if len(request.payload) > MAX_REQUEST_BYTES:
                raise DecodeError(f"{len(request.payload)} bytes")
            asked = RelayRequest.FromString(request.payload)
        except DecodeError as error:
            self._refusals.record(
                "malformed_relay_request", f"malformed relay query of {request.source_node}: {error}"
            )
            return NO
        asker, peer, relay = (self._ledger.by_name(name) for name in (asked.asker, asked.peer, asked.relay))
        own = self._ledger.local.node
        if asker is None or asked.asker != request.source_node:
            return NO
        links = self._links()
        if asked.relay == own:
            ends = (asker.claim.public_key, peer.claim.public_key if peer else None)
            return YES if self._is_forwarding and all(end and links.get(end) for end in ends) else NO
        if asked.peer != own or (asked.relay and relay is None):
            return NO
        question = RelayProposal(asker.claim.public_key, relay.claim.public_key if relay else None)
        before = self._relays.relays_in_use()
        if not self._relays.accepts(question, links, self._relay_keys(), self._clock.monotonic()):
            return NO
        await self._changed(before)
        return YES

    async def run(self) -> None:
        """Runs until cancelled."""
        named = self._ledger.local.node in self._names
        if not named:
            # An earlier process of this agent may have forwarded.
            await self.disable_forwarding()
        door_at = 0.0
        async with TaskSet() as proposals:
            while self._names:
                now = self._clock.monotonic()
                if named and now >= door_at:
                    await self.enable_forwarding()
                    door_at = now + FORWARDING_CHECK_SECONDS
                for question in await self._update(now):
                    proposals.start(self._fenced(question), "relay proposal")
                await asyncio.sleep(TICK_SECONDS)

    async def disable_forwarding(self) -> None:
        """This node leaves: disables forwarding."""
        self._is_forwarding = False
        try:
            await asyncio.to_thread(self._forwarding.require, ForwardingPurpose.RELAY)
        except (BackEndError, OSError) as error:
            log.error("cannot disable relay forwarding", error=str(error))

    async def enable_forwarding(self) -> None:
        ranges = self._ledger.local.ranges
        try:
            if (why := self._forwarding.why_not(ranges)) is not None:
                raise KernelError(why)
            await asyncio.to_thread(self._forwarding.require, ForwardingPurpose.RELAY, ranges)
        except (BackEndError, OSError) as error:
            self._is_forwarding = False
            if self._fault.is_new(str(error)):
                log.error("this node cannot relay", error=str(error))
        else:
            self._is_forwarding = True
            self._fault.is_over()

    async def _update(self, now: float) -> list[RelayProposal]:
        before = self._relays.relays_in_use()
        device = EMPTY_DEVICE
        if before:
            try:
                device = await self._device.read()
            except BackEndError as error:
                log.debug("relay update skipped", error=str(error))
                return []
        questions = self._relays.update(self._links(), self._relay_keys(), device, now)
        await self._changed(before)
        return questions

    async def _fenced(self, question: RelayProposal) -> None:
        with ANSWERS.fence(question.peer):
            await self._propose(question)

    async def _propose(self, question: RelayProposal) -> None:
        names = [self._ledger.by_key(key) for key in (question.peer, question.relay) if key is not None]
        nodes = [binding.claim.node for binding in names if binding is not None]
        if len(nodes) != len(names):
            return
        peer, relay = nodes[0], nodes[1] if len(nodes) > 1 else ""
        request = RelayRequest(asker=self._ledger.local.node, peer=peer, relay=relay)
        try:
            result = await self._members.query(
                RELAY_QUERY,
                request.SerializeToString(),
                nodes=nodes,
                relay_factor=RELAY_FACTOR,
                timeout=QUERY_SECONDS,
            )
        except GossipError as error:
            log.warning("relay query failed", node=peer, error=str(error))
            return
        if any(result.responses.get(node) != YES for node in nodes):
            log.debug("relay proposal rejected", node=peer, relay=relay, answers=sorted(result.responses))
            return
        before = self._relays.relays_in_use()
        self._relays.confirm(question, self._clock.monotonic())
        await self._changed(before)

    async def _changed(self, before: dict[PublicKey, PublicKey]) -> None:
        after = self._relays.relays_in_use()
        if after == before:
            return
        for peer in before.keys() | after.keys():
            if before.get(peer) != after.get(peer):
                binding, relay = (
                    self._ledger.by_key(peer),
                    self._ledger.by_key(after[peer]) if peer in after else None,
                )
                log.info(
                    "path changed",
                    node=binding.claim.node if binding else str(peer),
                    through=relay.claim.node if relay else "no relay",
                )
        self._changes.notify()
        try:
            await self._device.converged()
        except BackEndError as error:
            log.error("cannot program WireGuard", error=str(error), next="retrying with the next pass")

    def _links(self) -> dict[PublicKey, bool]:
        """The members that gossip reports alive, and whether the path to each works in both directions."""
        return {
            claim.public_key: link.receiving and bool(link.peer_receiving)
            for claim, link in alive_links(self._ledger, self._members.all(), self._prober.links())
        }

    def _relay_keys(self) -> list[PublicKey]:
        bindings = (self._ledger.by_name(name) for name in self._names)
        return [binding.claim.public_key for binding in bindings if binding is not None]
