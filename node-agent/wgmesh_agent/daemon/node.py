"""A member of a mesh while it runs: gossip, WireGuard, ledger and snapshot, joined together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_interface

import structlog

from wgmesh_agent.daemon.admissions import ANSWER_BYTES, QUERY, Admissions
from wgmesh_agent.daemon.changes import Changes
from wgmesh_agent.daemon.meeting import RECONNECT_SECONDS, Meeting
from wgmesh_agent.daemon.membership import Membership
from wgmesh_agent.daemon.prober import Prober
from wgmesh_agent.daemon.reconciler import Reconciler
from wgmesh_agent.daemon.refusals import Refusals
from wgmesh_agent.daemon.rtt import REQUEST, RESPONSE, RTTs
from wgmesh_agent.daemon.snapshot import Writer
from wgmesh_agent.daemon.tasks import Tasks
from wgmesh_agent.endpoint.lost_addresses import lost_addresses
from wgmesh_agent.gossip.config import PROFILES, SerfConfig
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.keyring import Keyring
from wgmesh_agent.gossip.notifications import (
    KeyringChanged,
    Member,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberUpdated,
    NameConflict,
    UserEventReceived,
)
from wgmesh_agent.gossip.serf_messages import MemberStatus
from wgmesh_agent.gossip_io import GossipNode
from wgmesh_agent.join.admission import Caller
from wgmesh_agent.join.messages import peer_message
from wgmesh_agent.join.tls import Credentials
from wgmesh_agent.membership.binding import Claim, IPAddress, Origin
from wgmesh_agent.membership.ledger import Ledger, Own
from wgmesh_agent.membership.tags import PROBE_PORT, is_reserved, own_tags
from wgmesh_agent.state.folder import StateFolder
from wgmesh_agent.state.records import MeshRecord
from wgmesh_agent.wireguard.backends.select import Choice
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Device, Endpoint, InterfaceSpec
from wgmesh_api.meshservice_pb2 import Peer

log = structlog.get_logger()
ANNOUNCEMENT = "_j"
REFRESH_SECONDS = 60.0
COUNT_SECONDS = 5.0
EVENTS_AT_ONCE = 32


class TagRefused(Exception):
    """A tag cannot be set; one sentence."""


class NameLost(Exception):
    """The mesh decided that this node's name is another's."""


@dataclass(frozen=True, slots=True)
class Identity:
    """This node for as long as it runs: its key, its port, and where others reach it."""

    private_key: PrivateKey
    listen_port: int
    endpoint: Endpoint
    mtu: int
    interface: str
    keepalive_seconds: int | None = None


class MeshNode:
    """Started once with a mesh record, from a fresh admission or from disk; both are the same from here on."""

    def __init__(
        self,
        record: MeshRecord,
        identity: Identity,
        folder: StateFolder,
        choice: Choice,
        *,
        trust: Credentials | None = None,
        signer: Credentials | None = None,
    ) -> None:
        """
        Args:
            trust: whose authorities say who may admit; None without TLS.
            signer: with which this node signs what it admits; None on a plain node.
        """
        self.identity = identity
        self.folder = folder
        self.backend = choice.backend(
            identity.interface,
            on_restarted=lambda: self.reconciler.poke(),
            on_trouble=lambda error: log.error("WireGuard in trouble", why=str(error)),
        )
        self.refusals = Refusals()
        self.changes = Changes()
        self.ledger = Ledger(
            Own(record.node, identity.private_key.public(), record.addresses, record.ranges), folder.members()
        )
        self.admissions = Admissions(record, trust, signer, self.ledger, self.refusals)
        self.record = replace(record, requires_admission=self.admissions.required)
        self.reconciler = Reconciler(
            self.backend, self.interface_spec, identity.private_key, identity.listen_port, self.ledger,
            keepalive_seconds=identity.keepalive_seconds,
        )  # fmt: skip
        self._keyring = Keyring(record.gossip_keys[0], record.gossip_keys[1:]) if record.gossip_keys else None
        self.gossip = GossipNode(
            SerfConfig(
                node_name=record.node,
                address=record.addresses[0],
                port=record.gossip_port,
                profile=PROFILES[record.profile],
                tags=self._tags(record.tags),
                reconnect_interval_seconds=RECONNECT_SECONDS,
                query_response_bytes=ANSWER_BYTES,
            ),
            keyring=self._keyring,
        )
        self.prober = Prober(record.addresses[0], self.probe_port, self._probed, self.changes)
        self.membership = Membership(
            self.ledger, self.refusals, self.gossip.members, self.admissions, self._ledger_changed
        )
        self.meeting = Meeting(
            self.gossip, record.gossip_port, self.ledger, self.membership.absent, self.reconciler.read
        )
        self.gossip.on_query(QUERY, lambda request: self.admissions.answer(request, self.own_claim()))
        self.assigned: Callable[[str, Caller], tuple[IPAddress, ...]] | None = None
        """Where a roster decides who may join, at which addresses: what it says; raises `join.admission.Denied`."""
        self.rtts = RTTs(self.gossip, record.node)
        self.tasks = Tasks()
        self._snapshot = Writer(self.changes, self._collect_snapshot, "member snapshot")
        for refusal in self.ledger.refused_at_load:
            self.refusals.count(refusal.reason.value, refusal.message)

    def own_claim(self) -> Claim:
        """What this node says of itself."""
        return Claim(
            self.record.node,
            self.identity.private_key.public(),
            self.record.addresses,
            (self.identity.endpoint,),
            self.record.bootstrap,
        )

    @property
    def probe_port(self) -> int:
        """UDP, on the mesh address, beside gossip."""
        return self.record.gossip_port + 1

    def interface_spec(self) -> InterfaceSpec:
        return InterfaceSpec(
            name=self.identity.interface,
            addresses=tuple(ip_interface(address) for address in self.record.addresses),
            ranges=self.record.ranges,
            mtu=self.identity.mtu,
        )

    async def start(self, peers: Iterable[Claim] = ()) -> None:
        """Programs WireGuard with all peers known, then gossips with them.

        Args:
            peers: what a bootstrap node's Peers() told; empty after a restart.

        Raises:
            BackEndError: the interface cannot be made or adopted.
            OSError: the gossip port is taken.
        """
        for claim in peers:
            self.membership.accept(claim, Origin.PEERS)
        await self.reconciler.reconcile()
        self.folder.save_mesh(self.record)
        await self.gossip.start()
        await self.prober.start()
        self.tasks.start(self.reconciler.run(), "reconcile")
        self.tasks.start(self._consume_events(), "events")
        self.tasks.start(self._snapshot.run(), "snapshot")
        self.tasks.start(self._refresh(), "refresh")
        self.tasks.start(self.prober.run(), "probe")
        self.tasks.start(self.meeting.reconnect(), "reconnect")
        self.tasks.start(self._count_gossip(), "count gossip")
        self.tasks.start(self._watch_addresses(), "addresses")
        self.tasks.start(
            self.admissions.run(self.changes, self.gossip, self._bootstraps_alive, self.membership.accept),
            "admissions",
        )

    def members(self) -> list[Member]:
        """All members by name; those that left are none, though gossip remembers them for a day."""
        members = self.gossip.members().values()
        return sorted((m for m in members if m.status is not MemberStatus.LEFT), key=lambda m: m.name)

    def is_alone(self) -> bool:
        """Whether gossip has no other member alive."""
        return not any(
            member.status is MemberStatus.ALIVE and member.name != self.record.node
            for member in self.gossip.members().values()
        )

    def gossip_key(self) -> bytes:
        """The key that gossip is encrypted with now; empty for plaintext gossip."""
        return b"" if self._keyring is None else self._keyring.primary

    def announce(self, claim: Claim, kind: Peer.AnnouncementType = Peer.JOIN) -> None:
        """Sends a `_j`. It is news, not the truth: who misses it learns the same from tags."""
        record = claim.admission
        shorter = (record.without_certificates(), None) if record else (None,)
        for short in shorter:
            try:
                message = peer_message(replace(claim, admission=short), kind)
                self.gossip.user_event(ANNOUNCEMENT, message.SerializeToString(), coalesce=False)
                return
            except GossipError as error:
                log.debug("announcement too large", why=str(error))
        log.warning("announcement not sent", node=claim.node, next="members learn of it by its tags")

    async def set_user_tags(self, tags: dict[str, str]) -> None:
        """Replaces this node's own tags, on disk and in gossip.

        Raises:
            TagRefused: reserved, or too large together.
            OSError: the state folder cannot be written.
        """
        for key in tags:
            if not key or is_reserved(key):
                raise TagRefused(f"the tag {key!r} is reserved: tags that start with '_' are the mesh's own")
        record = replace(self.record, tags=tags)
        try:
            self.gossip.set_tags(self._tags(tags))
        except GossipError as error:
            raise TagRefused(f"the tags are too large: {error}") from error
        self.record = record
        await asyncio.to_thread(self.folder.save_mesh, record)
        self.changes.bump()

    async def remember(self) -> None:
        """Returns when the members known now are on disk, or that failed and was logged."""
        await self._snapshot.write()

    async def device(self) -> Device:
        """What WireGuard holds now. Raises BackEndError."""
        return await self.reconciler.read()

    async def stop(self) -> None:
        """Ends the agent and nothing else: the interface stays, the others keep this member."""
        await self.tasks.stop()
        await self._snapshot.write()
        self.prober.close()
        await self.gossip.close()
        await self.backend.close()

    async def leave(self) -> None:
        """Leaves for good: tells everybody, then removes the interface and the state folder's content."""
        try:
            await self.gossip.leave()
        except GossipError as error:
            log.warning("left without telling everybody", why=str(error))
        await self.tasks.stop()
        self.prober.close()
        await self.gossip.close()
        try:
            await self.backend.destroy()
        except BackEndError as error:
            log.error("interface not removed", interface=self.identity.interface, why=str(error))
        self.folder.forget()

    def _tags(self, user_tags: Mapping[str, str]) -> dict[str, str]:
        return own_tags(self.own_claim(), user_tags, probe_port=self.probe_port)

    def _probed(self) -> dict[IPAddress, str]:
        """The members that listen for probes, failed ones too: theirs are the links worth looking at."""
        port = str(self.probe_port)
        return {
            binding.claim.addresses[0]: member.name
            for member in self.members()
            if member.tags.get(PROBE_PORT) == port
            and (binding := self.ledger.by_name(member.name)) is not None
        }

    def _bootstraps_alive(self) -> list[str]:
        members = self.gossip.members()
        return [
            binding.claim.node
            for binding in self.ledger
            if binding.claim.bootstrap
            and (member := members.get(binding.claim.node)) is not None
            and member.status is MemberStatus.ALIVE
        ]

    def _ledger_changed(self) -> None:
        self.reconciler.poke()
        self.changes.bump()

    async def _consume_events(self) -> None:
        handlers: dict[str, Callable[[bytes], object]] = {
            ANNOUNCEMENT: self.membership.announced,
            REQUEST: lambda payload: self.tasks.start(self.rtts.answer(payload), "rtt"),
            RESPONSE: self.rtts.collect,
        }
        handled = 0
        async for event in self.gossip.events:
            handled += 1
            if handled % EVENTS_AT_ONCE == 0:
                # Thousands wait when a mesh is met: none of them may keep the rest of the agent waiting.
                await asyncio.sleep(0)
            match event:
                case MemberJoined(member) | MemberUpdated(member) | MemberLeft(member) | MemberFailed(member):
                    self._member_news(member)
                case MemberReaped(member):
                    self.membership.reaped(member)
                    self.changes.bump()
                case UserEventReceived(name=name, payload=payload):
                    if name in handlers:
                        handlers[name](payload)
                case NameConflict():
                    self._name_conflict(event)
                case KeyringChanged():
                    log.info("gossip keys changed")
                    self.changes.bump()

    def _member_news(self, member: Member) -> None:
        log.info("member", node=member.name, status=member.status.name.lower(), address=str(member.address))
        self.membership.heard(member)
        self.changes.bump()

    def _name_conflict(self, event: NameConflict) -> None:
        if event.name == self.record.node and event.lost:
            raise NameLost(
                f"most members know another node as {event.name}, at {event.theirs}: give one of the two another name"
            )
        self.refusals.count(
            "name_conflict", f"{event.theirs} says to be {event.name}, which lives at {event.ours}"
        )

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.membership.refresh()
            self.changes.bump()

    async def _count_gossip(self) -> None:
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            self.refusals.overtake(self.gossip.counters.refused)

    async def _watch_addresses(self) -> None:
        async for _ in lost_addresses():
            log.info("this machine lost an address")
            self.reconciler.source_lost()

    async def _collect_snapshot(self) -> Callable[[], None]:
        await self.membership.note_seen()
        bindings = list(self.ledger)
        if self._keyring is not None and self._keyring.keys != self.record.gossip_keys:
            self.record = replace(self.record, gossip_keys=self._keyring.keys)
        record = self.record

        def write() -> None:
            self.folder.save_mesh(record)
            self.folder.save_members(bindings)

        return write
