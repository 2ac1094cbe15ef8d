"""Collects the facts for `wgmesh doctor`: state of links, and how peers see this node."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from wgmesh_agent.diagnosis.connectivity import check_route, check_tcp, check_udp_port
from wgmesh_agent.diagnosis.link_sources import LinkSources
from wgmesh_agent.diagnosis.own_facts import OwnFactsCollector
from wgmesh_agent.diagnosis.peer_query import PeerAnswer, PeerQuery, handshake_age, msec
from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.dataplane.handshake_trigger import HandshakeTrigger
from wgmesh_agent.mesh.membership.claims import Binding
from wgmesh_agent.mesh.membership.tags import PUBLIC_KEY
from wgmesh_agent.mesh.probing.liveness import LinkState
from wgmesh_agent.mesh.probing.padded_probe import SMALL_BYTES
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.wireguard.endpoint_candidates import STALE_AFTER_SECONDS
from wgmesh_agent.wireguard.model import Device, Peer
from wgmesh_api.agent_pb2 import ExamineResult, LinkFacts

MAX_BAD_LINKS = 8
MAX_LINKS = 16
WITNESSES_PER_PEER = 3
WATCH_SECONDS = 6.0
"""WireGuard retries a handshake every five seconds: within this time a packet of each end has been seen, or is lost."""
T = TypeVar("T")


class FactCollector:
    """One inspection at a time."""

    def __init__(
        self,
        sources: LinkSources,
        own: OwnFactsCollector,
        views: PeerQuery,
        clock: Clock,
        trigger: HandshakeTrigger,
    ) -> None:
        self._sources = sources
        self._own = own
        self._views = views
        self._clock = clock
        self._trigger = trigger
        self._looking = asyncio.Lock()

    async def collect(self, name: str) -> ExamineResult:
        """Inspects the link to the member `name`, or if that is empty all failing ones and some others."""
        async with self._looking:
            return await self._examine(name)

    async def _examine(self, name: str) -> ExamineResult:
        node = self._sources
        device, trouble = await node.read_device()
        members = {
            member.name: member for member in node.members.present() if member.name != node.local.record.node
        }
        names = sorted({*members, *(b.claim.node for b in node.ledger if b.claim.node)})
        if name == node.local.record.node:
            return ExamineResult(message=f"{name} is this node itself")
        if name and name not in names:
            return ExamineResult(message=f"this mesh has no member {name!r:.80}")
        links = node.probing.links()
        bad = [one for one in names if self._is_bad(one, members.get(one), device, links.get(one))]
        chosen = [name] if name else self._links_to_inspect(names, bad)
        result = ExamineResult(
            ok=True, own=self._own.collect(device, trouble), linkCount=len(names), badCount=len(bad)
        )
        result.links.extend(await self._collect_links(chosen, set(bad) & set(chosen), device))
        flips = [link.view.addressChanges for link in result.links if link.HasField("view")]
        result.own.addressChanges = max(flips, default=0)
        return result

    def _links_to_inspect(self, names: Sequence[str], bad: Sequence[str]) -> list[str]:
        good = sorted(set(names) - set(bad))
        few = bad[:MAX_BAD_LINKS]
        return [*few, *random.sample(good, min(len(good), MAX_LINKS - max(len(few), MAX_BAD_LINKS)))]

    def _is_bad(self, name: str, member: Member | None, device: Device, link: LinkState | None) -> bool:
        binding = self._sources.ledger.by_name(name)
        peer = device.peers.get(binding.claim.public_key) if binding is not None else None
        if member is None or member.status is not MemberStatus.ALIVE or peer is None:
            return True
        if link is not None:
            return not (link.receiving and link.peer_receiving)
        return not _is_fresh(peer, self._clock.unix())

    async def _collect_links(self, chosen: Sequence[str], bad: set[str], device: Device) -> list[LinkFacts]:
        node = self._sources
        own = node.local.record.node
        bindings = {name: b for name in chosen if (b := node.ledger.by_name(name)) is not None}
        healthy = [n for n in self._views.alive() if n not in bad]
        views, others, passing, gossip = await asyncio.gather(
            self._views.ask(own, chosen),
            self._by_name(bad, lambda name: self._views.ask(name, _some(healthy, name))),
            self._packet_sizes(bindings),
            self._by_name(bindings, lambda name: self._gossip_trouble(bindings[name])),
        )
        later, answers = device, views
        ports: dict[str, str] = {}
        if bad:
            reach = bad & bindings.keys()
            self._trigger(bindings[name].claim.addresses[0] for name in reach)
            # Not earlier: answers are rate-limited, and packets sent before would have used them up.
            _, ports = await asyncio.gather(
                asyncio.sleep(WATCH_SECONDS),
                self._by_name(reach, lambda name: self._port_answer(bindings[name], device)),
            )
            later, _ = await node.read_device()
            answers = await self._views.ask(own, sorted(bad))
        links = node.probing.links()
        members = node.gossip.members()
        found = []
        for name in chosen:
            # Its identity as first seen: agents repair foreign changes while links are inspected.
            facts = self._facts(name, members.get(name), bindings.get(name), device, links.get(name))
            facts.portAnswer = ports.get(name, "")
            facts.gossipTrouble = gossip.get(name, "")
            facts.gossipTried = name in gossip
            if name in passing:
                facts.smallPasses, facts.largeBytes, facts.largePasses = passing[name]
            first = views.get(name) or answers.get(name)
            if first is not None:
                facts.view.CopyFrom(first.view)
                facts.clockAheadMsec, facts.clockDoubtMsec = first.clock_offset_msec, first.clock_error_msec
            if name in bad:
                _take_growth(facts, bindings.get(name), device, later, self._clock.unix())
                _take_other_end(facts, views.get(name), answers.get(name))
            facts.others.extend(answer.view for answer in others.get(name, {}).values())
            found.append(facts)
        return found

    def _facts(
        self,
        name: str,
        member: Member | None,
        binding: Binding | None,
        device: Device,
        link: LinkState | None,
    ) -> LinkFacts:
        facts = LinkFacts(
            nodeName=name,
            status=member.status.name.lower() if member is not None else "",
            toldKey=member.tags.get(PUBLIC_KEY, "") if member is not None else "",
            handshakeMsecAgo=-1,
            probed=link is not None,
            heard=link is not None and link.receiving,
            heardMsecAgo=msec(link.last_received_seconds_ago if link is not None else None),
            hearsUs=link is not None and bool(link.peer_receiving),
            addressChanges=self._sources.flaps.count(name),
        )
        if binding is None:
            return facts
        claim = binding.claim
        facts.boundKey = str(claim.public_key)
        facts.meshIPs.extend(str(address) for address in claim.addresses)
        peer = device.peers.get(claim.public_key)
        if peer is None:
            return facts
        facts.programmed = True
        facts.allowed = {str(network.network_address) for network in peer.allowed_ips} >= set(facts.meshIPs)
        facts.handshakeMsecAgo = msec(handshake_age(peer, self._clock.unix()))
        facts.toldSecretCount = len(claim.secret_ids or ())
        facts.secretInCommon = self._sources.psk.has_common_secret(claim.public_key)
        facts.presharedKey = self._sources.psk.is_protected(device, claim.public_key)
        facts.keepaliveSeconds = peer.keepalive_seconds
        if peer.endpoint is not None:
            facts.endpoint = str(peer.endpoint)
            facts.routeTrouble = check_route(peer.endpoint.address, self._sources.local.record.ranges)
        return facts

    async def _packet_sizes(self, bindings: Mapping[str, Binding]) -> dict[str, tuple[bool, int, bool]]:
        """For each probed member: whether a small packet passes, the size that should pass, and whether that does."""
        paths, full = self._sources.probing.path_mtus(), self._sources.local.config.mtu
        sizes = {name: paths[name].mtu or full for name in bindings if name in paths}
        address = {name: bindings[name].claim.addresses[0] for name in sizes}
        wanted = [(address[name], size) for name in sizes for size in (SMALL_BYTES, sizes[name])]
        passed = await self._sources.probing.padded.reachable_with_size(wanted)
        return {
            name: ((address[name], SMALL_BYTES) in passed, size, (address[name], size) in passed)
            for name, size in sizes.items()
        }

    async def _gossip_trouble(self, binding: Binding) -> str:
        record = self._sources.local.record
        return await check_tcp(binding.claim.addresses[0], record.gossip_port, record.addresses[0])

    async def _port_answer(self, binding: Binding, device: Device) -> str:
        peer = device.peers.get(binding.claim.public_key)
        return "" if peer is None or peer.endpoint is None else await check_udp_port(peer.endpoint)

    @staticmethod
    async def _by_name(names: Iterable[str], ask: Callable[[str], Awaitable[T]]) -> dict[str, T]:
        order = sorted(names)
        return dict(zip(order, await asyncio.gather(*(ask(name) for name in order)), strict=True))


def _take_growth(
    facts: LinkFacts, binding: Binding | None, device: Device, later: Device, now_unix: float
) -> None:
    """Bytes received and sent during the inspection, and the handshakes completed during it."""
    key = binding.claim.public_key if binding is not None else None
    old, new = (d.peers.get(key) if key is not None else None for d in (device, later))
    if old is not None and new is not None:
        facts.rxGrowth, facts.txGrowth = new.rx_bytes - old.rx_bytes, new.tx_bytes - old.tx_bytes
        facts.handshakeMsecAgo = msec(handshake_age(new, now_unix))


def _take_other_end(facts: LinkFacts, before: PeerAnswer | None, after: PeerAnswer | None) -> None:
    """The same as counted by the other end, if it answered before and after."""
    if before is not None and after is not None:
        facts.watched = True
        facts.viewRxGrowth = after.view.rxBytes - before.view.rxBytes
        facts.viewTxGrowth = after.view.txBytes - before.view.txBytes
        facts.view.heard, facts.view.heardMsecAgo = after.view.heard, after.view.heardMsecAgo


def _some(names: Sequence[str], but: str) -> list[str]:
    others = [name for name in names if name != but]
    return random.sample(others, min(len(others), WITNESSES_PER_PEER))


def _is_fresh(peer: Peer, now_unix: float) -> bool:
    since = handshake_age(peer, now_unix)
    return since is not None and since <= STALE_AFTER_SECONDS
