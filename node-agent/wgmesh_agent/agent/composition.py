"""Composition root: creates every part of a node once, from top to bottom, each before the parts that use it.

A new mechanism is a package under `mesh/` and its lines here: its creation, its place in `transforms` if it modifies
peers and in `indirect` if it reaches them via others, its query in the table, and its component. To remove a mechanism,
delete both: a test does that to relays.
"""

from __future__ import annotations

import structlog

from wgmesh_agent.agent.address_watch import AddressWatch
from wgmesh_agent.agent.gossip_events import GossipEventDispatcher
from wgmesh_agent.agent.gossip_joiner import RECONNECT_SECONDS, GossipJoiner
from wgmesh_agent.agent.gossip_keys import GossipKeys
from wgmesh_agent.agent.interface_plan import NodeInterfacePlan
from wgmesh_agent.agent.member_refresh import MemberRefresh
from wgmesh_agent.agent.member_snapshot import member_snapshot
from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.own_endpoint import OwnEndpoint
from wgmesh_agent.agent.platform import Platform
from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.agent.rejoin import Adoption, Isolation, KeyReplacementJoin, Readmitter, Rejoin
from wgmesh_agent.agent.session_end import SessionEnd
from wgmesh_agent.agent.session_start import NodeStart
from wgmesh_agent.agent.tag_publisher import TagPublisher
from wgmesh_agent.control.member_report import MemberReport
from wgmesh_agent.control.mesh_report import MeshReport
from wgmesh_agent.control.rtt_collector import RTT_REQUEST_EVENT, RTT_RESPONSE_EVENT, RTTCollector
from wgmesh_agent.diagnosis.collector import FactCollector
from wgmesh_agent.diagnosis.link_sources import LinkSources
from wgmesh_agent.diagnosis.own_facts import OwnFactsCollector
from wgmesh_agent.diagnosis.peer_query import DOCTOR_QUERY, PeerQuery
from wgmesh_agent.gossip.aio.node import QueryHandler
from wgmesh_agent.gossip.memberlist.config import PROFILES, SerfConfig
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.linux.backends.backend_selection import SelectedBackend
from wgmesh_agent.linux.ip_forwarding import IPForwarding
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.mesh.dataplane.indirect_paths import IndirectPaths
from wgmesh_agent.mesh.dataplane.interface_watch import InterfaceWatch
from wgmesh_agent.mesh.dataplane.reconciler import Reconciler
from wgmesh_agent.mesh.dataplane.repair_rate_limit import Repairs
from wgmesh_agent.mesh.discovery.endpoint_monitor import EndpointMonitor
from wgmesh_agent.mesh.discovery.endpoint_query import WHERE_QUERY
from wgmesh_agent.mesh.discovery.local_addresses import LocalAddresses
from wgmesh_agent.mesh.discovery.service import EndpointDiscovery
from wgmesh_agent.mesh.join.address_allocator import AddressAllocator
from wgmesh_agent.mesh.join.address_claims import CLAIM_QUERY, AddressClaimQuery, AddressClaimResponder
from wgmesh_agent.mesh.join.bootstrap import BootstrapServer
from wgmesh_agent.mesh.join.bootstrap_directory import KnownBootstraps
from wgmesh_agent.mesh.join.dispute_resolver import DisputeResolver
from wgmesh_agent.mesh.join.peers_client import BootstrapPeers
from wgmesh_agent.mesh.join.port_binding import JoinServing
from wgmesh_agent.mesh.join.registrar import Registrar
from wgmesh_agent.mesh.join.running_mesh import RunningMesh
from wgmesh_agent.mesh.join.server import MeshService
from wgmesh_agent.mesh.join.service_address import ServiceAddress
from wgmesh_agent.mesh.join.tokens import TokenStore, new_token
from wgmesh_agent.mesh.join.upkeep import JoinUpkeep
from wgmesh_agent.mesh.membership.admission_fetcher import AdmissionFetcher
from wgmesh_agent.mesh.membership.admissions import (
    ADMISSION_QUERY,
    MAX_QUERY_RESPONSE_BYTES,
    AdmissionService,
)
from wgmesh_agent.mesh.membership.announcements import ANNOUNCEMENT_EVENT, Announcer
from wgmesh_agent.mesh.membership.departures import Departures
from wgmesh_agent.mesh.membership.endpoint_flaps import Calls, EndpointFlapDetector, MemberFlaps
from wgmesh_agent.mesh.membership.gossip_oracle import LedgerVouching
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.missing_records import MissingRecords
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.mesh.probing.service import ProbeService
from wgmesh_agent.mesh.psk.secret_file import SecretFile
from wgmesh_agent.mesh.psk.service import PSKManager
from wgmesh_agent.mesh.relay.service import RELAY_QUERY, RelayService
from wgmesh_agent.mesh.rotation.announcement_proxy import HERALD_QUERY, AnnouncementProxy
from wgmesh_agent.mesh.rotation.gossip_key import GossipKeyRotation
from wgmesh_agent.mesh.rotation.key_switch import KeySwitch
from wgmesh_agent.mesh.rotation.service import RotationService
from wgmesh_agent.mesh.rotation.wireguard_key import WireGuardKeyRotation
from wgmesh_agent.mesh.routing.mss_clamp import MSSClamp
from wgmesh_agent.mesh.routing.subnet_routes import SubnetRoutes
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.gc_tuning import collect_regularly
from wgmesh_agent.runtime.supervisor import Component, Supervisor
from wgmesh_agent.state.mesh_record_store import MeshRecordStore
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.clock_steps import ClockSteps
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.handshake_ages import HandshakeAges

log = structlog.get_logger()


def compose(
    start: NodeStart,
    store: StateStore,
    selected: SelectedBackend,
    policies: Policies,
    end: SessionEnd,
    platform: Platform,
) -> MeshNode:
    """A node that is created and not started. Reads and writes no files but the member snapshot.

    Args:
        end: receives the request to restart this node with other facts.
    """
    config, record, role, clock = start.config, start.record, start.role, platform.clock
    secrets = role.secrets or SecretFile()
    changes, device_requested, endpoint_news = Signal(), Signal(), Signal()
    ledger_changed, suspect = Signal(device_requested, changes), Signal(endpoint_news)
    tasks, rejections = Supervisor(), RejectionLog()

    records = MeshRecordStore(store, record, policies.keys, clock)
    local = LocalNode(
        config, records, start.key, start.endpoint, ledger_changed, secret_ids=secrets.current.ids
    )
    ledger = Ledger(local, store.members())
    for refused in ledger.rejected_at_load:
        rejections.record(refused.reason.value, refused.message)
    missing_news = Signal()
    missing = MissingRecords(missing_news)
    trust, signer = role.server_tls or role.client_tls, role.server_tls if role.bind else None
    admissions = AdmissionService(
        local, trust, signer, ledger, missing, rejections, policies.membership, clock
    )
    local.update_record(requires_admission=admissions.required)

    keys = record.gossip_keys
    keyring = Keyring(keys[0], keys[1:], records.persist_keyring) if keys else None
    gossip = platform.gossip(
        SerfConfig(
            node_name=record.node,
            address=record.addresses[0],
            port=record.gossip_port,
            profile=PROFILES[record.profile],
            tags=local.tags(),
            reconnect_interval_seconds=RECONNECT_SECONDS,
            query_response_bytes=MAX_QUERY_RESPONSE_BYTES,
        ),
        keyring=keyring,
        vouching=LedgerVouching(ledger, is_admitted=admissions.required),
    )
    view = MemberView(gossip, ledger)
    gossip_keys, announcer = GossipKeys(local, keyring), Announcer(gossip)
    directory = KnownBootstraps(policies.bootstraps, ledger, role.service_port)
    tags = TagPublisher(local, gossip, changes)

    backend = selected.backend(
        config.interface, on_restarted=device_requested.notify, on_trouble=_log_backend_trouble
    )
    device = DeviceCache(backend, device_requested, clock)
    departures = Departures()
    probing = ProbeService(
        local,
        view,
        departures,
        device,
        changes,
        ledger_changed,
        clock,
        platform.rng(),
        platform.route,
    )
    tracker = MembershipTracker(
        ledger, rejections, view, admissions, departures, probing, policies.membership, ledger_changed, clock
    )
    fetcher = AdmissionFetcher(missing, missing_news, view, ledger, tracker, rejections, changes, clock)

    addresses = LocalAddresses(platform.addresses, endpoint_news)
    forwarding = IPForwarding(store.path, config.interface, platform.forwarding_rules, platform.net)
    relay = RelayService(config.relays, forwarding, view, ledger, probing, rejections, changes, device, clock)
    indirect = IndirectPaths((relay,))
    discovery = EndpointDiscovery(
        view,
        ledger,
        probing,
        rejections,
        device,
        local,
        addresses,
        suspect,
        changes,
        indirect,
        clock,
        platform.rng(),
    )
    own_endpoint = OwnEndpoint(start.lookup, directory, role.service_port)
    monitor = EndpointMonitor(
        local, addresses, discovery, ledger, own_endpoint.locate, clock, news=endpoint_news, suspect=suspect
    )
    psk = PSKManager(secrets, local, ledger)
    routes = SubnetRoutes(
        config.interface,
        ledger,
        rejections,
        local,
        forwarding,
        platform.connected_networks,
        ledger_changed.notify,
    )
    plan = NodeInterfacePlan(local, routes, probing)
    repairs, calls, flaps = Repairs(config.interface), Calls(clock), EndpointFlapDetector()
    reconciler = Reconciler(
        backend,
        device,
        local,
        ledger,
        plan,
        clock,
        platform.trigger_handshakes,
        ages=HandshakeAges(ClockSteps(store.clock_steps(), store.save_clock_steps)),
        transforms=(discovery, relay, psk),
        observers=(psk, calls),
        repairs=repairs,
    )
    watch = InterfaceWatch(
        config.interface,
        reconciler,
        device,
        repairs,
        forwarding.again,
        platform.interface_monitor,
        clock,
    )
    clamping = MSSClamp(config.interface, plan, changes, platform.nft, clock, platform.net)
    host = AddressWatch(addresses, reconciler, platform.host_changes)

    joiner = GossipJoiner(
        gossip,
        record.gossip_port,
        ledger,
        tracker.unknown_to_gossip,
        device,
        platform.trigger_handshakes,
    )
    proxy = AnnouncementProxy(admissions, rejections, tracker, announcer, tasks)
    snapshot = member_snapshot(changes, tracker, local, ledger, store)

    switch = KeySwitch(local, ledger, reconciler, store, clock, platform.trigger_handshakes)
    rotations = RotationService(
        WireGuardKeyRotation(
            switch,
            local,
            admissions,
            view,
            gossip,
            device,
            policies.keys,
            KeyReplacementJoin(role, local, start.lookup, directory),
            clock,
            platform.rng(),
        ),
        GossipKeyRotation(gossip, keyring, tracker.failed_bootstraps) if keyring is not None else None,
        tracker,
        policies.keys,
    )
    disputes = DisputeResolver(
        ledger,
        tracker,
        missing,
        directory,
        BootstrapPeers(local, role.client_tls),
        changes,
        platform.rng(),
    )
    rejoin = (
        Rejoin(
            role,
            policies,
            Isolation(view, tracker, gossip_keys),
            Readmitter(role.join_target, directory, start.lookup, local, store),
            Adoption(local, gossip_keys, tracker, reconciler, joiner),
            view,
            end,
        )
        if role.join_target is not None
        else None
    )

    links = LinkSources(
        local=local,
        ledger=ledger,
        members=view,
        gossip=gossip,
        device=device,
        probing=probing,
        psk=psk,
        flaps=MemberFlaps(ledger, flaps, calls, clock),
        rejections=rejections,
    )
    rtts = RTTCollector(gossip, record.node)
    peer_query = PeerQuery(links, role.client_tls, clock)
    own_facts = OwnFactsCollector(
        links, repairs, indirect, tasks, policies.membership, role.client_tls, clock
    )
    handlers: dict[str, QueryHandler] = {
        WHERE_QUERY: discovery.answer_query,
        RELAY_QUERY: relay.answer_query,
        ADMISSION_QUERY: admissions.answer_query,
        HERALD_QUERY: proxy.answer_query,
        DOCTOR_QUERY: peer_query.answer_query,
    }
    registrar, join_service, upkeep = None, None, None
    if role.bind is not None:
        registrar = Registrar(
            record.mesh,
            ledger,
            AddressAllocator(record.ipam_ranges or record.ranges),
            RunningMesh(
                ledger=ledger,
                members=view,
                device=device,
                policy=policies.membership,
                admissions=admissions,
                rejections=rejections,
                address_claims=AddressClaimQuery(view, admissions),
                announcer=announcer,
                reconciler=reconciler,
                snapshot=snapshot,
                changes=changes,
            ),
        )
        handlers[CLAIM_QUERY] = AddressClaimResponder(admissions, rejections, registrar, clock).answer
        upkeep = JoinUpkeep(registrar, ledger, admissions, policies.membership, announcer, clock)
        join_service = JoinServing(
            BootstrapServer(
                MeshService(local, registrar, TokenStore(new_token), admissions, rejections, clock),
                role.server_tls,
            ),
            ServiceAddress(role.bind, addresses, start.lookup, follows_address=role.follows_address),
        )
    for query, handler in handlers.items():
        gossip.on_query(query, handler)
    events = GossipEventDispatcher(
        record.node,
        gossip,
        tracker,
        probing,
        flaps,
        rejections,
        changes,
        {
            ANNOUNCEMENT_EVENT: tracker.on_announcement,
            RTT_REQUEST_EVENT: lambda payload: tasks.start(rtts.answer_request(payload), "rtt"),
            RTT_RESPONSE_EVENT: rtts.on_response,
        },
        clock,
    )
    refresh = MemberRefresh(tracker, changes)
    return MeshNode(
        store=store,
        policies=policies,
        changes=changes,
        tasks=tasks,
        rejections=rejections,
        local=local,
        ledger=ledger,
        admissions=admissions,
        gossip_keys=gossip_keys,
        gossip=gossip,
        view=view,
        backend=backend,
        device=device,
        probing=probing,
        tracker=tracker,
        addresses=addresses,
        forwarding=forwarding,
        indirect=indirect,
        discovery=discovery,
        psk=psk,
        routes=routes,
        repairs=repairs,
        reconciler=reconciler,
        clamping=clamping,
        joiner=joiner,
        snapshot=snapshot,
        rotations=rotations,
        disputes=disputes,
        rejoin=rejoin,
        registrar=registrar,
        join_service=join_service,
        links=links,
        mesh_report=MeshReport(links, selected.kind, tls=role.tls),
        member_report=MemberReport(links, routes, indirect),
        rtts=rtts,
        facts=FactCollector(links, own_facts, peer_query, clock, platform.trigger_handshakes),
        components=(
            Component("reconcile", reconciler.run),
            Component("interface", watch.run),
            Component("events", events.run),
            Component("snapshot", snapshot.run),
            Component("garbage", collect_regularly),
            Component("refresh", refresh.run),
            Component("departures", tracker.watch_departing),
            Component("probe", probing.run),
            Component("routes beyond nodes", routes.run),
            Component("clamping", clamping.run),
            Component("reconnect", joiner.reconnect),
            Component("count gossip", events.collect_counters),
            Component("addresses", host.run),
            Component("location", monitor.run),
            Component("paths", discovery.run),
            Component("relaying", relay.run),
            Component("pre-shared secrets", psk.run),
            Component("tags", tags.run),
            Component("admissions", fetcher.run),
            *((Component("sweep", upkeep.run),) if upkeep is not None else ()),
        ),
    )


def _log_backend_trouble(error: BackEndError) -> None:
    log.error("WireGuard backend failed", error=str(error))
