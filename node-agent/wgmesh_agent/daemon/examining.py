"""A close look at links, and at this node as others see it: the facts that `wgmesh doctor` makes its findings of.

The other side is asked by a gossip query, which spreads by everybody and whose answers some members pass on: so it is
asked, and answers, also where the link itself is broken. What it says is a member's word, taken for no more than that.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import structlog
from google.protobuf.message import DecodeError

from wgmesh_agent.daemon.knocking import connection_trouble, port_answer, route_trouble
from wgmesh_agent.daemon.node import MeshNode
from wgmesh_agent.daemon.reconciler import knock
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.notifications import Member, QueryReceived
from wgmesh_agent.gossip.serf_messages import MemberStatus
from wgmesh_agent.join.tls import Credentials
from wgmesh_agent.links.hearing import Link
from wgmesh_agent.links.padding import SMALL_BYTES
from wgmesh_agent.membership.binding import Binding
from wgmesh_agent.membership.tags import PUBLIC_KEY
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.keys import InvalidKeyError, PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint, Peer
from wgmesh_api.agent_pb2 import ExamineResult, LinkFacts, LinkView, OwnFacts, Refused

log = structlog.get_logger()
QUERY = "_doctor"
ANSWER_SECONDS = 2.0
ANSWERS_A_SECOND = 10.0
RELAYS = 3
MOST_BAD = 8
MOST_LINKS = 16
ASKED_ABOUT_ONE = 3
WATCH_SECONDS = 6.0
"""WireGuard begins a handshake anew every five seconds: in so long a packet of each end has been seen, or is lost."""
FRESH_SECONDS = 180.0
RECENT_SECONDS = 600.0
STATUSES = frozenset(status.name.lower() for status in MemberStatus)
T = TypeVar("T")


class Examiner:
    """One instance a session; looks are one at a time, answers to others at most ten a second."""

    def __init__(self, node: MeshNode, credentials: Credentials | None) -> None:
        self._node = node
        self._credentials = credentials
        self._looking = asyncio.Lock()
        self._may_answer = ANSWERS_A_SECOND
        self._answered = time.monotonic()
        node.gossip.on_query(QUERY, self.answer)

    async def answer(self, request: QueryReceived) -> bytes | None:
        """To the query `_doctor`: what this node sees of the member named."""
        now = time.monotonic()
        earned = (now - self._answered) * ANSWERS_A_SECOND
        self._may_answer, self._answered = min(ANSWERS_A_SECOND, self._may_answer + earned), now
        if self._may_answer < 1.0:
            return None
        self._may_answer -= 1.0
        view = self._view(request.payload.decode("ascii", "replace"), await self._device())
        return view.SerializeToString()

    async def examine(self, name: str) -> ExamineResult:
        """Looks at the link to the member `name`, or if that is empty at all bad ones and some others."""
        async with self._looking:
            return await self._examine(name)

    async def _examine(self, name: str) -> ExamineResult:
        node = self._node
        device, trouble = await self._device_or_trouble()
        members = {member.name: member for member in node.members() if member.name != node.record.node}
        names = sorted({*members, *(b.claim.node for b in node.ledger if b.claim.node)})
        if name == node.record.node:
            return ExamineResult(message=f"{name} is this node itself")
        if name and name not in names:
            return ExamineResult(message=f"this mesh has no member {name!r:.80}")
        links = node.prober.links()
        bad = [one for one in names if self._is_bad(one, members.get(one), device, links.get(one))]
        chosen = [name] if name else self._chosen(names, bad)
        result = ExamineResult(
            ok=True, own=self._own(device, trouble), linkCount=len(names), badCount=len(bad)
        )
        result.links.extend(await self._looks(chosen, set(bad) & set(chosen), device))
        flips = [link.view.addressChanges for link in result.links if link.HasField("view")]
        result.own.addressChanges = max(flips, default=0)
        return result

    def _chosen(self, names: Sequence[str], bad: Sequence[str]) -> list[str]:
        good = sorted(set(names) - set(bad))
        few = bad[:MOST_BAD]
        return [*few, *random.sample(good, min(len(good), MOST_LINKS - max(len(few), MOST_BAD)))]

    def _is_bad(self, name: str, member: Member | None, device: Device, link: Link | None) -> bool:
        binding = self._node.ledger.by_name(name)
        peer = device.peers.get(binding.claim.public_key) if binding is not None else None
        if member is None or member.status is not MemberStatus.ALIVE or peer is None:
            return True
        if link is not None:
            return not (link.heard and link.hears_us)
        return not _is_fresh(peer)

    async def _looks(self, chosen: Sequence[str], bad: set[str], device: Device) -> list[LinkFacts]:
        node = self._node
        own = node.record.node
        bindings = {name: b for name in chosen if (b := node.ledger.by_name(name)) is not None}
        healthy = [n for n in self._alive() if n not in bad]
        views, others, passing, gossip, ports = await asyncio.gather(
            self._views(own, chosen),
            self._by_name(bad, lambda name: self._views(name, _some(healthy, name))),
            self._passing(bindings),
            self._by_name(bindings, lambda name: self._gossip_trouble(bindings[name])),
            self._by_name(bad & bindings.keys(), lambda name: self._port_answer(bindings[name], device)),
        )
        later = device
        before = {name: view for name, (view, _, _) in views.items()}
        if bad:
            knock(bindings[name].claim.addresses[0] for name in bad & bindings.keys())
            await asyncio.sleep(WATCH_SECONDS)
            later = await self._device()
            views = {**views, **await self._views(own, sorted(bad))}
        links = node.prober.links()
        members = node.gossip.members()
        found = []
        for name in chosen:
            facts = self._facts(name, members.get(name), bindings.get(name), later, links.get(name))
            facts.portAnswer = ports.get(name, "")
            facts.gossipTrouble = gossip.get(name, "")
            facts.gossipTried = name in gossip
            self._take_passing(facts, bindings.get(name), passing)
            if name in bad:
                _take_growth(facts, bindings.get(name), device, later, before.get(name), views.get(name))
            if name in views:
                view, ahead, doubt = views[name]
                facts.view.CopyFrom(view)
                facts.clockAheadMsec, facts.clockDoubtMsec = ahead, doubt
            facts.others.extend(view for view, _, _ in others.get(name, {}).values())
            found.append(facts)
        return found

    def _facts(
        self, name: str, member: Member | None, binding: Binding | None, device: Device, link: Link | None
    ) -> LinkFacts:
        facts = LinkFacts(
            nodeName=name,
            status=member.status.name.lower() if member is not None else "",
            toldKey=member.tags.get(PUBLIC_KEY, "") if member is not None else "",
            handshakeMsecAgo=-1,
            probed=link is not None,
            heard=link is not None and link.heard,
            heardMsecAgo=_msec(link.heard_seconds_ago if link is not None else None),
            hearsUs=link is not None and bool(link.hears_us),
            addressChanges=self._node.wandering.returns(name, time.monotonic()),
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
        facts.handshakeMsecAgo = _msec(_age(peer))
        facts.keepaliveSeconds = peer.keepalive_seconds
        if peer.endpoint is not None:
            facts.endpoint = str(peer.endpoint)
            facts.routeTrouble = route_trouble(peer.endpoint.address, self._node.record.ranges)
        return facts

    def _own(self, device: Device, trouble: str) -> OwnFacts:
        node = self._node
        own = OwnFacts(
            pubkey=str(node.identity.private_key.public()),
            interfacePubkey=str(device.public_key or ""),
            interfaceTrouble=trouble,
            listenPort=device.listen_port,
            gossipPort=node.record.gossip_port,
            probePort=node.probe_port,
            clockMsec=round(time.time() * 1000),
            refused=[
                Refused(reason=reason, message=message, secondsAgo=round(ago))
                for reason, message, ago in node.refusals.recent(RECENT_SECONDS)
            ],
        )
        if self._credentials is not None:
            leaf = self._credentials.files.leaf()
            own.tls = True
            own.certificateNotBefore = round(leaf.not_valid_before_utc.timestamp())
            own.certificateNotAfter = round(leaf.not_valid_after_utc.timestamp())
            own.certificateSubject = leaf.subject.rfc4514_string()
        return own

    def _view(self, about: str, device: Device) -> LinkView:
        node = self._node
        binding, link = node.ledger.by_name(about), node.prober.links().get(about)
        member = node.gossip.member(about)
        peer = device.peers.get(binding.claim.public_key) if binding is not None else None
        certificate = self._credentials.files.leaf() if self._credentials is not None else None
        return LinkView(
            clockMsec=round(time.time() * 1000),
            interfacePubkey=str(device.public_key or ""),
            peerKey=str(peer.public_key) if peer is not None else "",
            endpoint=str(peer.endpoint or "") if peer is not None else "",
            handshakeMsecAgo=_msec(_age(peer) if peer is not None else None),
            rxBytes=peer.rx_bytes if peer is not None else 0,
            txBytes=peer.tx_bytes if peer is not None else 0,
            heard=link is not None and link.heard,
            heardMsecAgo=_msec(link.heard_seconds_ago if link is not None else None),
            status=member.status.name.lower() if member is not None else "",
            certificateNotAfter=round(certificate.not_valid_after_utc.timestamp()) if certificate else 0,
            addressChanges=node.wandering.returns(about, time.monotonic()),
        )

    async def _views(self, about: str, nodes: Sequence[str]) -> dict[str, tuple[LinkView, int, int]]:
        """By member: what it says of `about`, by how many ms its clock is ahead, and how far that may be off."""
        if not nodes:
            return {}
        begun, clock = time.monotonic(), time.time()
        relays = max(0, min(RELAYS, len(self._alive())))
        try:
            result = await self._node.gossip.query(
                QUERY, about.encode(), nodes=list(nodes), relay_factor=relays, timeout=ANSWER_SECONDS
            )
        except GossipError as error:
            log.warning("members not asked", about=about, why=str(error))
            return {}
        took = time.monotonic() - begun
        found = {}
        for name, answer in result.responses.items():
            if name not in nodes:
                continue
            try:
                view = checked(LinkView.FromString(answer))
            except DecodeError as error:
                self._node.refusals.count("malformed_doctor_answer", f"{name} answers nonsense: {error}")
                continue
            view.nodeName = name
            middle = round((clock + took / 2) * 1000)
            found[name] = (view, view.clockMsec - middle, round(took * 500))
        return found

    def _alive(self) -> list[str]:
        own = self._node.record.node
        return [
            member.name
            for member in self._node.members()
            if member.status is MemberStatus.ALIVE and member.name != own
        ]

    async def _passing(self, bindings: Mapping[str, Binding]) -> set[tuple[str, int]]:
        """Which members packets pass to: small ones, and those of the interface's size."""
        mtu, probed = self._node.identity.mtu, self._node.prober.links()
        wanted = [(bindings[name].claim.addresses[0], s) for name in bindings if name in probed
                  for s in (SMALL_BYTES, mtu)]  # fmt: skip
        passed = await self._node.prober.padded.passing(wanted)
        return {(str(address), size) for address, size in passed}

    def _take_passing(self, facts: LinkFacts, binding: Binding | None, passing: set[tuple[str, int]]) -> None:
        if binding is not None and facts.probed:
            address, mtu = str(binding.claim.addresses[0]), self._node.identity.mtu
            facts.largeBytes = mtu
            facts.smallPasses = (address, SMALL_BYTES) in passing
            facts.largePasses = (address, mtu) in passing

    async def _gossip_trouble(self, binding: Binding) -> str:
        record = self._node.record
        return await connection_trouble(binding.claim.addresses[0], record.gossip_port, record.addresses[0])

    async def _port_answer(self, binding: Binding, device: Device) -> str:
        peer = device.peers.get(binding.claim.public_key)
        return "" if peer is None or peer.endpoint is None else await port_answer(peer.endpoint)

    @staticmethod
    async def _by_name(names: Iterable[str], ask: Callable[[str], Awaitable[T]]) -> dict[str, T]:
        order = sorted(names)
        return dict(zip(order, await asyncio.gather(*(ask(name) for name in order)), strict=True))

    async def _device(self) -> Device:
        return (await self._device_or_trouble())[0]

    async def _device_or_trouble(self) -> tuple[Device, str]:
        try:
            return await self._node.device(), ""
        except BackEndError as error:
            return Device(self._node.identity.interface), str(error)


def checked(view: LinkView) -> LinkView:
    """The answer of a member, everything in it that is not what it should be left out."""
    found = LinkView()
    found.CopyFrom(view)
    for name in ("interfacePubkey", "peerKey"):
        try:
            PublicKey.from_base64(getattr(view, name))
        except (InvalidKeyError, ValueError):
            setattr(found, name, "")
    try:
        Endpoint.parse(view.endpoint)
    except ValueError:
        found.endpoint = ""
    if view.status not in STATUSES:
        found.status = ""
    return found


def _take_growth(
    facts: LinkFacts,
    binding: Binding | None,
    device: Device,
    later: Device,
    before: LinkView | None,
    after: tuple[LinkView, int, int] | None,
) -> None:
    key = binding.claim.public_key if binding is not None else None
    old, new = (d.peers.get(key) if key is not None else None for d in (device, later))
    if old is not None and new is not None:
        facts.watched = True
        facts.rxGrowth, facts.txGrowth = new.rx_bytes - old.rx_bytes, new.tx_bytes - old.tx_bytes
    if before is not None and after is not None:
        facts.viewRxGrowth = after[0].rxBytes - before.rxBytes
        facts.viewTxGrowth = after[0].txBytes - before.txBytes


def _some(names: Sequence[str], but: str) -> list[str]:
    others = [name for name in names if name != but]
    return random.sample(others, min(len(others), ASKED_ABOUT_ONE))


def _age(peer: Peer) -> float | None:
    return time.time() - peer.last_handshake if peer.last_handshake else None


def _is_fresh(peer: Peer) -> bool:
    age = _age(peer)
    return age is not None and age <= FRESH_SECONDS


def _msec(seconds: float | None) -> int:
    return -1 if seconds is None else max(0, round(seconds * 1000))
