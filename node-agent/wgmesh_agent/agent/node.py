"""A member of a mesh while it runs: gossip, WireGuard, ledger and snapshot, joined together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from ipaddress import ip_interface

import structlog

from wgmesh_agent.agent.gossip_events import GossipEventDispatcher
from wgmesh_agent.agent.gossip_joiner import RECONNECT_SECONDS, GossipJoiner
from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.agent.tag_publisher import TagPublisher
from wgmesh_agent.control.rtt_collector import RTT_REQUEST_EVENT, RTT_RESPONSE_EVENT, RTTCollector
from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.errors import GossipError, KeyringError
from wgmesh_agent.gossip.memberlist.config import PROFILES, SerfConfig
from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.linux.address_monitor import host_changes
from wgmesh_agent.linux.backends.backend_selection import SelectedBackend
from wgmesh_agent.linux.interface_addresses import InterfaceAddresses
from wgmesh_agent.linux.ip_forwarding import IPForwarding
from wgmesh_agent.linux.port_owner import needing
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.dataplane.interface_watch import InterfaceWatch
from wgmesh_agent.mesh.dataplane.reconciler import Reconciler
from wgmesh_agent.mesh.dataplane.repair_rate_limit import Repairs
from wgmesh_agent.mesh.discovery.endpoint_monitor import EndpointMonitor
from wgmesh_agent.mesh.discovery.endpoint_query import WHERE_QUERY
from wgmesh_agent.mesh.discovery.local_addresses import LocalAddresses
from wgmesh_agent.mesh.discovery.service import EndpointDiscovery
from wgmesh_agent.mesh.membership.admission_fetcher import AdmissionFetcher
from wgmesh_agent.mesh.membership.admissions import (
    ADMISSION_QUERY,
    MAX_QUERY_RESPONSE_BYTES,
    AdmissionService,
)
from wgmesh_agent.mesh.membership.announcements import ANNOUNCEMENT_EVENT, announce
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.endpoint_flaps import Calls, EndpointFlapDetector
from wgmesh_agent.mesh.membership.gossip_oracle import LedgerVouching
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.local_node import LocalNode, NodeConfig
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.membership.missing_records import MissingRecords
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.mesh.probing.service import ProbeService
from wgmesh_agent.mesh.psk.secret_file import SecretFile
from wgmesh_agent.mesh.psk.service import PSKManager
from wgmesh_agent.mesh.relay.service import RELAY_QUERY, RelayService
from wgmesh_agent.mesh.rotation.announcement_proxy import HERALD_QUERY, AnnouncementProxy
from wgmesh_agent.mesh.routing.mss_clamp import MSSClamp
from wgmesh_agent.mesh.routing.subnet_routes import SubnetRoutes
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.runtime.debounced_writer import DebouncedWriter, snapshot_interval_seconds
from wgmesh_agent.runtime.gc_tuning import collect_regularly
from wgmesh_agent.runtime.supervisor import Run, Supervisor
from wgmesh_agent.state.mesh_record_store import MeshRecordStore
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.clock_steps import ClockSteps
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.handshake_ages import HandshakeAges
from wgmesh_agent.wireguard.keys import PrivateKey
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
        config: NodeConfig,
        record: MeshRecord,
        key: PrivateKey,
        endpoint: Endpoint,
        folder: StateStore,
        choice: SelectedBackend,
        policies: Policies,
        *,
        locate: Callable[[], Awaitable[Endpoint]],
        trust: Credentials | None = None,
        signer: Credentials | None = None,
        secrets: SecretFile | None = None,
    ) -> None:
        """
        Args:
            key: the WireGuard key to begin with.
            endpoint: where others reach this node, as far as it knows now.
            policies: who may be a member, who decides on keys, where bootstrap nodes serve.
            locate: where others reach this node, by its settings and routes; raises NoUsableEndpoint.
            trust: whose authorities say who may admit; None without TLS.
            signer: with which this node signs what it admits; None on a plain node.
            secrets: for pre-shared keys.
        """
        self.folder = folder
        self.policies = policies
        self.changes, device_requested = Signal(), Signal()
        ledger_changed = Signal(device_requested, self.changes)
        endpoint_news = Signal()
        suspect = Signal(endpoint_news)
        self.addresses = LocalAddresses(InterfaceAddresses(), endpoint_news)
        self.backend = choice.backend(
            config.interface,
            on_restarted=device_requested.notify,
            on_trouble=lambda error: log.error("WireGuard in trouble", why=str(error)),
        )
        self.refusals = RejectionLog()
        self.wandering, self.calls = EndpointFlapDetector(), Calls()
        secrets = secrets or SecretFile()
        kept = MeshRecordStore(folder, record, policies.keys)
        self.local = local = LocalNode(
            config, kept, key, endpoint, ledger_changed, secret_ids=secrets.current.ids
        )
        self.ledger = Ledger(local, folder.members())
        self.preshared = PSKManager(secrets, local, self.ledger)
        clock, missing_news = SystemClock(), Signal()
        missing = MissingRecords(missing_news)
        self.admissions = AdmissionService(
            local, trust, signer, self.ledger, missing, self.refusals, policies.membership, clock
        )
        local.update_record(requires_admission=self.admissions.required)
        self.forwarding = forwarding = IPForwarding(folder.path, config.interface)
        self.beyond = SubnetRoutes(
            config.interface, self.ledger, self.refusals, local, forwarding, ledger_changed.notify
        )
        self.repairs = Repairs(config.interface)
        self.reconciler = Reconciler(
            self.backend, self.interface_spec, local, device_requested, self.ledger,
            ages=HandshakeAges(ClockSteps(folder.clock_steps(), folder.save_clock_steps)),
            routes=self.beyond.allowed_ips,
            shape=lambda desired, actual, now_unix: self.preshared.refine(
                self.relaying.refine(self.paths.refine(desired, actual, now_unix), actual), actual, now_unix
            ),
            seen=self._saw, repairs=self.repairs,
        )  # fmt: skip
        self.keyring = (
            Keyring(record.gossip_keys[0], record.gossip_keys[1:], kept.persist_keyring)
            if record.gossip_keys
            else None
        )
        self.gossip = GossipNode(
            SerfConfig(
                node_name=record.node,
                address=record.addresses[0],
                port=record.gossip_port,
                profile=PROFILES[record.profile],
                tags=local.tags(),
                reconnect_interval_seconds=RECONNECT_SECONDS,
                query_response_bytes=MAX_QUERY_RESPONSE_BYTES,
            ),
            keyring=self.keyring,
            vouching=LedgerVouching(self.ledger, is_admitted=self.admissions.required),
        )
        self.view = view = MemberView(self.gossip, self.ledger)
        self.tags = TagPublisher(local, self.gossip, self.changes)
        self.prober = ProbeService(
            record.addresses[0], local.probe_port, config.mtu,
            lambda: view.probe_targets(local.probe_port, self.membership.departing()),
            self.changes,
            device=lambda: self.reconciler.known,
            endpoint=view.peer_endpoint,
            paths_changed=ledger_changed.notify,
        )  # fmt: skip
        self.membership = MembershipTracker(
            self.ledger,
            self.refusals,
            self.gossip.members,
            self.admissions,
            ledger_changed.notify,
            self.prober,
            policies.membership,
        )
        self.meeting = GossipJoiner(
            self.gossip,
            record.gossip_port,
            self.ledger,
            self.membership.unknown_to_gossip,
            self.reconciler.read,
        )
        self.relaying = RelayService(
            config.relays, forwarding, view, self.ledger, self.prober, self.refusals, self.changes,
            self.reconciler.read, lambda: self.reconciler.reconcile(check_interface=False),
        )  # fmt: skip
        self.paths = EndpointDiscovery(
            view, self.ledger, self.prober, self.refusals,
            lambda: self.reconciler.read(SHARED_SECONDS), self.reconciler.poke,
            local, self.addresses, suspect, self.relaying.untaken,
        )  # fmt: skip
        self.location = EndpointMonitor(
            local,
            self.addresses,
            self.paths,
            self.ledger,
            locate,
            clock,
            news=endpoint_news,
            suspect=suspect,
        )
        self.gossip.on_query(WHERE_QUERY, self.paths.answer_query)
        self.gossip.on_query(RELAY_QUERY, self.relaying.answer_query)
        self.gossip.on_query(ADMISSION_QUERY, self.admissions.answer_query)
        self.fetcher = AdmissionFetcher(
            missing, missing_news, view, self.ledger, self.membership, self.refusals, self.changes, clock
        )
        self.rtts = RTTCollector(self.gossip, record.node)
        self.watch = InterfaceWatch(config.interface, self.reconciler, self.repairs, forwarding.again)
        self.clamping = MSSClamp(config.interface)
        self.tasks = Supervisor()
        heralding = AnnouncementProxy(
            self.admissions, self.refusals, self.membership.accept, self.announce, self.tasks
        )
        self.gossip.on_query(HERALD_QUERY, heralding.answer_query)
        self.listening = GossipEventDispatcher(
            record.node, self.gossip, self.membership, self.prober, self.wandering, self.refusals, self.changes,
            {
                ANNOUNCEMENT_EVENT: self.membership.on_announcement,
                RTT_REQUEST_EVENT: lambda payload: self.tasks.start(self.rtts.answer_request(payload), "rtt"),
                RTT_RESPONSE_EVENT: self.rtts.on_response,
            },
        )  # fmt: skip
        self._snapshot = DebouncedWriter(
            self.changes,
            self._collect_snapshot,
            "member snapshot",
            lambda: snapshot_interval_seconds(len(self.ledger)),
        )
        for refusal in self.ledger.rejected_at_load:
            self.refusals.record(refusal.reason.value, refusal.message)

    @property
    def record(self) -> MeshRecord:
        """The mesh as this node is part of it now."""
        return self.local.record

    def returns(self, node: str) -> int:
        """How often within ten minutes the member told or called from another endpoint, and the former one again."""
        now, binding = time.monotonic(), self.ledger.by_name(node)
        called = self.calls.returns(binding.claim.public_key, now) if binding is not None else 0
        return max(self.wandering.flap_count(node, now), called)

    def _saw(self, device: Device) -> None:
        self.preshared.observe(device)
        self.calls.look(device, time.monotonic())

    def interface_spec(self) -> InterfaceSpec:
        local = self.local
        return InterfaceSpec(
            name=local.config.interface,
            addresses=tuple(ip_interface(address) for address in local.addresses),
            ranges=local.ranges,
            mtu=local.config.mtu,
            peer_routes=self.beyond.peer_routes(self.prober.reduced_mtus()),
            subnet_routes=self.beyond.device_routes(self.prober.reduced_mtus()),
            local_networks=local.routes,
            port=local.listen_port,
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
        self.local.persist_if_possible()
        with needing(
            self.record.gossip_port, ("tcp", "udp"), "gossip; -gossip-port of the mesh, spec.gossip.port"
        ):
            await self.gossip.start()
        with needing(self.local.probe_port, ("udp",), "probes; the gossip port and one"):
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
            ("count gossip", self.listening.collect_counters),
            ("addresses", self._watch_addresses),
            ("location", self.location.run),
            ("paths", lambda: self.paths.run(self.changes)),
            ("relaying", self.relaying.run),
            ("pre-shared secrets", self.preshared.run),
            ("tags", self.tags.run),
            ("admissions", self.fetcher.run),
        )

    def members(self) -> list[Member]:
        """All members by name; those that left are none, though gossip remembers them for a day."""
        return self.view.present()

    def replace_gossip_keys(self, keys: tuple[bytes, ...], since: int) -> None:
        """Puts this ring, decided on elsewhere at `since` (unix seconds), on disk and then in the place of the own.

        Raises:
            KeyringError: this mesh gossips in plaintext, or the ring is none.
            OSError: the state folder cannot be written; nothing has changed.
        """
        if self.keyring is None:
            raise KeyringError("gossip of this mesh is not encrypted")
        self.local.replace_record(replace(self.record, gossip_keys=keys, gossip_keys_since=since))
        self.keyring.replace(keys)
        log.info("gossip keys changed", on_the_ring=len(keys))

    def announce(self, claim: Claim, kind: Peer.AnnouncementType = Peer.JOIN) -> None:
        """Sends a `_j`. It is news, not the truth: who misses it learns the same from tags."""
        announce(self.gossip, claim, kind)

    async def write_snapshot(self) -> None:
        """Returns when the members known now are on disk, or that failed and was logged."""
        await self._snapshot.write_now()

    async def device(self) -> Device:
        """What WireGuard holds now. Raises BackEndError."""
        return await self.reconciler.read()

    async def stop(self) -> None:
        """Ends the agent and nothing else: the interface stays, the others keep this member."""
        await self.tasks.stop()
        await self._snapshot.write_now()
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
        self.folder.clear()

    async def _remove_from_host(self) -> None:
        """All that an agent makes on a machine but its files; by now nothing runs any more that could make it anew.

        | what | removed by |
        |---|---|
        | nftables table `inet wgmesh-wgNAME` | `MSSClamp.remove` |
        | `net.ipv4.conf.*.forwarding`, and rules that confine what comes out of the tunnel | `IPForwarding.withdraw` |
        | the interface with addresses and routes, wireguard-go with its socket and log | `Backend.destroy` |
        | rules of the mesh's table, and what is in that | `Backend.destroy`, also if the interface has gone |
        | state folder | `StateStore.clear` |
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
            log.error("interface not removed", interface=self.local.config.interface, why=str(error))

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.membership.refresh()
            self.changes.notify()

    async def _watch_addresses(self) -> None:
        async for change in host_changes():
            if change.lost_address:
                log.info("this machine lost an address")
                self.reconciler.source_address_lost()
            if change.addresses or change.routes:
                self.addresses.invalidate()
                await self.reconciler.network_changed()

    async def _collect_snapshot(self) -> Callable[[], None]:
        await self.membership.mark_alive_members()
        bindings = list(self.ledger)

        def write() -> None:
            self.local.persist()
            self.folder.save_members(bindings)

        return write
