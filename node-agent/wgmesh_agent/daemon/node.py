"""A member of a mesh while it runs: gossip, WireGuard, ledger and snapshot, joined together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from ipaddress import ip_interface

import structlog

from wgmesh_agent.daemon import roll
from wgmesh_agent.daemon.admissions import ANSWER_BYTES, QUERY, Admissions
from wgmesh_agent.daemon.announcing import ANNOUNCEMENT, announce
from wgmesh_agent.daemon.beyond import Beyond
from wgmesh_agent.daemon.changes import Changes
from wgmesh_agent.daemon.clamping import Clamping
from wgmesh_agent.daemon.garbage import collect_regularly
from wgmesh_agent.daemon.heralding import QUERY as HERALD
from wgmesh_agent.daemon.heralding import Heralding
from wgmesh_agent.daemon.identity import Identity
from wgmesh_agent.daemon.interface_watch import InterfaceWatch
from wgmesh_agent.daemon.kept_record import KeptRecord
from wgmesh_agent.daemon.listening import Listening
from wgmesh_agent.daemon.location import Location
from wgmesh_agent.daemon.meeting import RECONNECT_SECONDS, Meeting
from wgmesh_agent.daemon.membership import Membership
from wgmesh_agent.daemon.own_tags import OwnTags
from wgmesh_agent.daemon.paths import Paths
from wgmesh_agent.daemon.policies import Policies
from wgmesh_agent.daemon.preshared import Preshared
from wgmesh_agent.daemon.prober import Prober
from wgmesh_agent.daemon.reconciler import Reconciler
from wgmesh_agent.daemon.refusals import Refusals
from wgmesh_agent.daemon.relaying import QUERY as RELAY_QUERY
from wgmesh_agent.daemon.relaying import Relaying
from wgmesh_agent.daemon.repairs import Repairs
from wgmesh_agent.daemon.rtt import REQUEST, RESPONSE, RTTs
from wgmesh_agent.daemon.secret_source import SecretSource
from wgmesh_agent.daemon.snapshot import Writer, calm_seconds
from wgmesh_agent.daemon.tasks import Run, Tasks
from wgmesh_agent.endpoint.address_changes import host_changes
from wgmesh_agent.endpoint.port_holders import needing
from wgmesh_agent.gossip.config import PROFILES, SerfConfig
from wgmesh_agent.gossip.errors import GossipError, KeyringError
from wgmesh_agent.gossip.keyring import Keyring
from wgmesh_agent.gossip.notifications import Member
from wgmesh_agent.gossip_io import GossipNode
from wgmesh_agent.join.tls import Credentials
from wgmesh_agent.membership.binding import Claim, Origin
from wgmesh_agent.membership.ledger import Ledger, Own, usable_endpoints
from wgmesh_agent.membership.vouching import LedgerVouching
from wgmesh_agent.membership.wandering import Calls, Wandering
from wgmesh_agent.paths.own import NAT_KEEPALIVE_SECONDS, Outside
from wgmesh_agent.paths.whereabouts import QUERY as WHERE_QUERY
from wgmesh_agent.state.folder import StateFolder
from wgmesh_agent.state.forwarding import Forwarding
from wgmesh_agent.state.records import MeshRecord
from wgmesh_agent.wireguard.backends.select import Choice
from wgmesh_agent.wireguard.clock_steps import ClockSteps
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.handshake_ages import HandshakeAges
from wgmesh_agent.wireguard.model import Device, Endpoint, InterfaceSpec
from wgmesh_api.meshservice_pb2 import Peer

log = structlog.get_logger()
REFRESH_SECONDS = 60.0
SHARED_SECONDS = 0.5
"""For so long one look at WireGuard answers all who ask where others are."""


class MeshNode:
    """Started once with a mesh record, from a fresh admission or from disk; both are the same from here on."""

    def __init__(
        self,
        record: MeshRecord,
        identity: Identity,
        folder: StateFolder,
        choice: Choice,
        policies: Policies,
        *,
        locate: Callable[[], Awaitable[Endpoint]],
        trust: Credentials | None = None,
        signer: Credentials | None = None,
        secrets: SecretSource | None = None,
    ) -> None:
        """
        Args:
            policies: who may be a member, who decides on keys, where bootstrap nodes serve.
            locate: where others reach this node, by its settings and routes; raises `endpoint.own.NoEndpoint`.
            trust: whose authorities say who may admit; None without TLS.
            signer: with which this node signs what it admits; None on a plain node.
            secrets: for pre-shared keys.
        """
        self.identity = identity
        self.folder = folder
        self.policies = policies
        self.backend = choice.backend(
            identity.interface,
            on_restarted=lambda: self.reconciler.poke(),
            on_trouble=lambda error: log.error("WireGuard in trouble", why=str(error)),
        )
        self.refusals = Refusals()
        self.wandering, self.calls = Wandering(), Calls()
        self.changes = Changes()
        self.behind_nat = False
        self.ledger = Ledger(
            Own(record.node, identity.private_key.public(), record.addresses, record.ranges), folder.members()
        )
        self.preshared = Preshared(secrets or SecretSource(), self.ledger)
        self.admissions = Admissions(record, trust, signer, self.ledger, self.refusals, policies.membership)
        self.kept = KeptRecord(
            folder, replace(record, requires_admission=self.admissions.required), policies.keys
        )
        self.tags = OwnTags(
            self.kept, self.own_claim, self.probe_port, self.preshared, self._ledger_changed,
            lambda tags: self.gossip.set_tags(tags),
        )  # fmt: skip
        announced = record.admission.routes if record.admission is not None else record.routes
        self.forwarding = forwarding = Forwarding(folder.path, identity.interface)
        self.beyond = Beyond(
            identity.interface,
            self.ledger,
            self.refusals,
            announced,
            forwarding,
            self._ledger_changed,
        )
        self.repairs = Repairs(identity.interface)
        self.reconciler = Reconciler(
            self.backend, self.interface_spec, identity.private_key, identity.listen_port, self.ledger,
            ages=HandshakeAges(ClockSteps(folder.clock(), folder.keep_clock)),
            keepalive_seconds=identity.keepalive_seconds, routes=self.beyond.granted,
            shape=lambda desired, actual, now_unix: self.preshared.shape(
                self.relaying.shape(self.paths.shape(desired, actual, now_unix), actual), actual, now_unix
            ),
            seen=self._saw, repairs=self.repairs,
        )  # fmt: skip
        self.keyring = (
            Keyring(record.gossip_keys[0], record.gossip_keys[1:], self.kept.keep_ring)
            if record.gossip_keys
            else None
        )
        self.gossip = GossipNode(
            SerfConfig(
                node_name=record.node,
                address=record.addresses[0],
                port=record.gossip_port,
                profile=PROFILES[record.profile],
                tags=self.tags.first(),
                reconnect_interval_seconds=RECONNECT_SECONDS,
                query_response_bytes=ANSWER_BYTES,
            ),
            keyring=self.keyring,
            vouching=LedgerVouching(self.ledger, is_admitted=self.admissions.required),
        )
        self.prober = Prober(
            record.addresses[0], self.probe_port, identity.mtu,
            lambda: roll.probed(
                [*self.members(), *self.membership.departing()], self.ledger, self.probe_port
            ),
            self.changes,
            device=lambda: self.reconciler.known,
            endpoint=lambda device, address: roll.endpoint_of(self.ledger, device, address),
            paths_changed=self._ledger_changed,
        )  # fmt: skip
        self.membership = Membership(
            self.ledger,
            self.refusals,
            self.gossip.members,
            self.admissions,
            self._ledger_changed,
            self.prober,
            policies.membership,
        )
        self.meeting = Meeting(
            self.gossip, record.gossip_port, self.ledger, self.membership.absent, self.reconciler.read
        )
        self.location = Location(
            locate,
            self._seen_by_others,
            lambda: len(self.ledger),
            self._publish,
            given=identity.endpoint_given,
        )
        self.relaying = Relaying(
            identity.relays, forwarding, self.gossip, self.ledger, self.prober, self.refusals, self.changes,
            self.reconciler.read, lambda: self.reconciler.reconcile(check_interface=False),
        )  # fmt: skip
        self.paths = Paths(
            self.gossip, self.ledger, self.prober, self.refusals,
            lambda: self.reconciler.read(SHARED_SECONDS), self.reconciler.poke,
            self._own_endpoints, lambda: self.identity.endpoint, self.location.doubt, lambda: self.location.known,
            self.relaying.untaken,
        )  # fmt: skip
        self.gossip.on_query(WHERE_QUERY, self.paths.answer)
        self.gossip.on_query(RELAY_QUERY, self.relaying.answer)
        self.gossip.on_query(QUERY, lambda request: self.admissions.answer(request, self.own_claim()))
        self.rtts = RTTs(self.gossip, record.node)
        self.watch = InterfaceWatch(identity.interface, self.reconciler, self.repairs, forwarding.again)
        self.clamping = Clamping(identity.interface)
        self.tasks = Tasks()
        heralding = Heralding(
            self.admissions, self.refusals, self.membership.accept, self.announce, self.tasks
        )
        self.gossip.on_query(HERALD, heralding.answer)
        self.listening = Listening(
            record.node, self.gossip, self.membership, self.prober, self.wandering, self.refusals, self.changes,
            {
                ANNOUNCEMENT: self.membership.announced,
                REQUEST: lambda payload: self.tasks.start(self.rtts.answer(payload), "rtt"),
                RESPONSE: self.rtts.collect,
            },
        )  # fmt: skip
        self._snapshot = Writer(
            self.changes, self._collect_snapshot, "member snapshot", lambda: calm_seconds(len(self.ledger))
        )
        for refusal in self.ledger.refused_at_load:
            self.refusals.count(refusal.reason.value, refusal.message)

    @property
    def record(self) -> MeshRecord:
        """The mesh as this node is part of it now."""
        return self.kept.value

    def own_claim(self) -> Claim:
        """What this node says of itself."""
        return Claim(
            self.record.node,
            self.identity.private_key.public(),
            self.record.addresses,
            (self.identity.endpoint,),
            self.record.bootstrap,
            routes=self.beyond.announced,
            secret_ids=self.preshared.ids,
        )

    @property
    def probe_port(self) -> int:
        """UDP, on the mesh address, beside gossip."""
        return self.record.gossip_port + 1

    def returns(self, node: str) -> int:
        """How often within ten minutes the member told or called from another endpoint, and the former one again."""
        now, binding = time.monotonic(), self.ledger.by_name(node)
        called = self.calls.returns(binding.claim.public_key, now) if binding is not None else 0
        return max(self.wandering.returns(node, now), called)

    def _saw(self, device: Device) -> None:
        self.preshared.look(device)
        self.calls.look(device, time.monotonic())

    def interface_spec(self) -> InterfaceSpec:
        return InterfaceSpec(
            name=self.identity.interface,
            addresses=tuple(ip_interface(address) for address in self.record.addresses),
            ranges=self.record.ranges,
            mtu=self.identity.mtu,
            paths=self.beyond.paths(self.prober.reduced()),
            beyond=self.beyond.routes(self.prober.reduced()),
            sources=self.beyond.announced,
            port=self.identity.listen_port,
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
        await self.beyond.start()
        await self.reconciler.reconcile()
        self.kept.keep()
        with needing(
            self.record.gossip_port, ("tcp", "udp"), "gossip; -gossip-port of the mesh, spec.gossip.port"
        ):
            await self.gossip.start()
        with needing(self.probe_port, ("udp",), "probes; the gossip port and one"):
            await self.prober.start()
        for name, run in self._components():
            self.tasks.keep(run, name)

    def _components(self) -> Iterable[tuple[str, Run]]:
        """What runs for as long as this node does, by the name that log and metrics have for it."""
        return (
            ("reconcile", self.reconciler.run),
            ("interface", self.watch.run),
            ("events", self.listening.run),
            ("snapshot", self._snapshot.run),
            ("garbage", collect_regularly),
            ("refresh", self._refresh),
            ("departures", self.membership.watch_departing),
            ("probe", self.prober.run),
            ("routes beyond nodes", self.beyond.run),
            ("clamping", lambda: self.clamping.run(self.interface_spec, self.changes)),
            ("reconnect", self.meeting.reconnect),
            ("count gossip", self.listening.count),
            ("addresses", self._watch_addresses),
            ("location", self.location.run),
            ("paths", lambda: self.paths.run(self.changes)),
            ("relaying", self.relaying.run),
            ("pre-shared secrets", lambda: self.preshared.follow(self.tags.tell_secrets)),
            (
                "admissions",
                lambda: self.admissions.run(
                    self.changes, self.gossip, self.bootstraps_alive, self.membership.accept
                ),
            ),
        )

    def members(self) -> list[Member]:
        """All members by name; those that left are none, though gossip remembers them for a day."""
        return roll.present(self.gossip.members())

    def is_alone(self) -> bool:
        """Whether gossip has no other member alive."""
        return not any(name != self.record.node for name in roll.alive(self.gossip.members()))

    def bootstraps_alive(self) -> list[str]:
        """The names of the bootstrap nodes that gossip has alive."""
        return roll.bootstraps_alive(self.gossip.members(), self.ledger)

    def take_ring(self, keys: tuple[bytes, ...], since: int) -> None:
        """Puts this ring, decided on elsewhere at `since` (unix seconds), on disk and then in the place of the own.

        Raises:
            KeyringError: this mesh gossips in plaintext, or the ring is none.
            OSError: the state folder cannot be written; nothing has changed.
        """
        if self.keyring is None:
            raise KeyringError("gossip of this mesh is not encrypted")
        self.kept.become(replace(self.record, gossip_keys=keys, gossip_keys_since=since))
        self.keyring.take(keys)
        log.info("gossip keys changed", on_the_ring=len(keys))
        self.changes.bump()

    def announce(self, claim: Claim, kind: Peer.AnnouncementType = Peer.JOIN) -> None:
        """Sends a `_j`. It is news, not the truth: who misses it learns the same from tags."""
        announce(self.gossip, claim, kind)

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
        self.prober.leave()
        try:
            await self.gossip.leave()
        except GossipError as error:
            log.warning("left without telling everybody", why=str(error))
        await self.tasks.stop()
        self.prober.close()
        await self.gossip.close()
        await self._remove_from_host()
        self.folder.forget()

    async def _remove_from_host(self) -> None:
        """All that an agent makes on a machine but its files; by now nothing runs any more that could make it anew.

        | what | removed by |
        |---|---|
        | nftables table `inet wgmesh-wgNAME` | `Clamping.remove` |
        | `net.ipv4.conf.*.forwarding`, and rules that confine what comes out of the tunnel | `Forwarding.withdraw` |
        | the interface with addresses and routes, wireguard-go with its socket and log | `Backend.destroy` |
        | rules of the mesh's table, and what is in that | `Backend.destroy`, also if the interface has gone |
        | state folder | `StateFolder.forget` |
        | the agent's socket | `Session`, when its server has stopped |
        """
        await self.clamping.remove()
        try:
            await asyncio.to_thread(self.forwarding.withdraw)
        except (BackEndError, OSError) as error:
            log.error("forwarding not withdrawn", why=str(error))
        try:
            await self.backend.destroy()
        except BackEndError as error:
            log.error("interface not removed", interface=self.identity.interface, why=str(error))

    def _ledger_changed(self) -> None:
        self.reconciler.poke()
        self.changes.bump()

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.membership.refresh()
            self.changes.bump()

    async def _watch_addresses(self) -> None:
        async for change in host_changes():
            if change.lost_address:
                log.info("this machine lost an address")
                self.reconciler.source_lost()
            if change.addresses or change.routes:
                self.location.moved()
                await self.reconciler.network_changed()

    async def _seen_by_others(self) -> list[Endpoint]:
        learned, _ = await self.paths.where_others_see(self.record.node)
        return learned

    async def _own_endpoints(self) -> list[Endpoint]:
        port = self.identity.listen_port
        found = [self.identity.endpoint, *(Endpoint(one, port) for one in await self.location.candidates())]
        return list(usable_endpoints(found, self.record.ranges))

    def _publish(self, outside: Outside) -> None:
        """Tells others where this node is from now on, and keeps a translator's entries open if there is one."""
        behind_nat = self.behind_nat if outside.behind_nat is None else outside.behind_nat
        if behind_nat != self.behind_nat:
            self.behind_nat = behind_nat
            log.info("behind an address translator" if behind_nat else "behind no address translator",
                     seen_at=str(outside.endpoint))  # fmt: skip
            if self.identity.keepalive_seconds is None:
                self.reconciler.keepalive_seconds = NAT_KEEPALIVE_SECONDS if behind_nat else 0
                self.reconciler.poke()
        if outside.endpoint != self.identity.endpoint:
            log.info("reached elsewhere now", endpoint=str(outside.endpoint))
            self.identity = replace(self.identity, endpoint=outside.endpoint)
            try:
                self.tags.tell()
            except GossipError as error:
                log.error(
                    "not told to others", why=str(error), next="they learn it from packets; set fewer tags"
                )
            self.changes.bump()

    async def _collect_snapshot(self) -> Callable[[], None]:
        await self.membership.note_seen()
        bindings = list(self.ledger)

        def write() -> None:
            self.kept.save()
            self.folder.save_members(bindings)

        return write
