"""Makes every part of a node once, from top to bottom: none is given to another before it is made.

A new mechanism is a package under `mesh/` and its lines here: where it is made, its place in `transforms` if it shapes
peers, its query in the table, and its component.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from wgmesh_agent.agent.address_watch import AddressWatch
from wgmesh_agent.agent.gossip_events import GossipEventDispatcher
from wgmesh_agent.agent.gossip_joiner import RECONNECT_SECONDS, GossipJoiner
from wgmesh_agent.agent.interface_plan import NodeInterfacePlan
from wgmesh_agent.agent.member_refresh import MemberRefresh
from wgmesh_agent.agent.member_snapshot import member_snapshot
from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.agent.tag_publisher import TagPublisher
from wgmesh_agent.control.rtt_collector import RTT_REQUEST_EVENT, RTT_RESPONSE_EVENT, RTTCollector
from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.memberlist.config import PROFILES, SerfConfig
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.linux.backends.backend_selection import SelectedBackend
from wgmesh_agent.linux.interface_addresses import InterfaceAddresses
from wgmesh_agent.linux.ip_forwarding import IPForwarding
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
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
from wgmesh_agent.mesh.membership.announcements import ANNOUNCEMENT_EVENT
from wgmesh_agent.mesh.membership.departures import Departures
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
from wgmesh_agent.runtime.gc_tuning import collect_regularly
from wgmesh_agent.runtime.supervisor import Component, Supervisor
from wgmesh_agent.state.mesh_record_store import MeshRecordStore
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.clock_steps import ClockSteps
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.handshake_ages import HandshakeAges
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NodeStart:
    """What a node begins with.

    Attributes:
        key: the WireGuard key to begin with.
        endpoint: where others reach this node, as far as it knows now.
        locate: where others reach this node, by its settings and routes; raises NoUsableEndpoint.
        trust: whose authorities say who may admit; None without TLS.
        signer: with which this node signs what it admits; None on a plain node.
        secrets: for pre-shared keys.
    """

    config: NodeConfig
    record: MeshRecord
    key: PrivateKey
    endpoint: Endpoint
    locate: Callable[[], Awaitable[Endpoint]]
    trust: Credentials | None = None
    signer: Credentials | None = None
    secrets: SecretFile = field(default_factory=SecretFile)


def compose(start: NodeStart, store: StateStore, selected: SelectedBackend, policies: Policies) -> MeshNode:
    """A node that is made and not started. Nothing is read or written but the member snapshot."""
    config, record, clock = start.config, start.record, SystemClock()
    changes, device_requested, endpoint_news = Signal(), Signal(), Signal()
    ledger_changed, suspect = Signal(device_requested, changes), Signal(endpoint_news)
    tasks, rejections = Supervisor(), RejectionLog()

    records = MeshRecordStore(store, record, policies.keys)
    local = LocalNode(
        config, records, start.key, start.endpoint, ledger_changed, secret_ids=start.secrets.current.ids
    )
    ledger = Ledger(local, store.members())
    for refused in ledger.rejected_at_load:
        rejections.record(refused.reason.value, refused.message)
    missing_news = Signal()
    missing = MissingRecords(missing_news)
    admissions = AdmissionService(
        local, start.trust, start.signer, ledger, missing, rejections, policies.membership, clock
    )
    local.update_record(requires_admission=admissions.required)

    keys = record.gossip_keys
    keyring = Keyring(keys[0], keys[1:], records.persist_keyring) if keys else None
    gossip = GossipNode(
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
    tags = TagPublisher(local, gossip, changes)

    backend = selected.backend(
        config.interface, on_restarted=device_requested.notify, on_trouble=_log_backend_trouble
    )
    device = DeviceCache(backend, device_requested, clock)
    departures = Departures()
    probing = ProbeService(local, view, departures, device, changes, ledger_changed)
    tracker = MembershipTracker(
        ledger, rejections, view, admissions, departures, probing, policies.membership, ledger_changed
    )
    fetcher = AdmissionFetcher(missing, missing_news, view, ledger, tracker, rejections, changes, clock)

    addresses = LocalAddresses(InterfaceAddresses(), endpoint_news)
    forwarding = IPForwarding(store.path, config.interface)
    relay = RelayService(config.relays, forwarding, view, ledger, probing, rejections, changes, device)
    discovery = EndpointDiscovery(
        view, ledger, probing, rejections, device, local, addresses, suspect, changes, relay.untaken
    )
    monitor = EndpointMonitor(
        local, addresses, discovery, ledger, start.locate, clock, news=endpoint_news, suspect=suspect
    )
    psk = PSKManager(start.secrets, local, ledger)
    routes = SubnetRoutes(config.interface, ledger, rejections, local, forwarding, ledger_changed.notify)
    plan = NodeInterfacePlan(local, routes, probing)
    repairs, calls, flaps = Repairs(config.interface), Calls(clock), EndpointFlapDetector()
    reconciler = Reconciler(
        backend, device, local, ledger, plan,
        ages=HandshakeAges(ClockSteps(store.clock_steps(), store.save_clock_steps)),
        transforms=(discovery, relay, psk), observers=(psk, calls), repairs=repairs,
    )  # fmt: skip
    watch = InterfaceWatch(config.interface, reconciler, device, repairs, forwarding.again)
    clamping = MSSClamp(config.interface, plan, changes)
    host = AddressWatch(addresses, reconciler)

    joiner = GossipJoiner(gossip, record.gossip_port, ledger, tracker.unknown_to_gossip, device)
    proxy = AnnouncementProxy(admissions, rejections, tracker, gossip, tasks)
    rtts = RTTCollector(gossip, record.node)
    for query, handler in (
        (WHERE_QUERY, discovery.answer_query),
        (RELAY_QUERY, relay.answer_query),
        (ADMISSION_QUERY, admissions.answer_query),
        (HERALD_QUERY, proxy.answer_query),
    ):
        gossip.on_query(query, handler)
    events = GossipEventDispatcher(
        record.node, gossip, tracker, probing, flaps, rejections, changes,
        {
            ANNOUNCEMENT_EVENT: tracker.on_announcement,
            RTT_REQUEST_EVENT: lambda payload: tasks.start(rtts.answer_request(payload), "rtt"),
            RTT_RESPONSE_EVENT: rtts.on_response,
        },
    )  # fmt: skip
    refresh = MemberRefresh(tracker, changes)
    snapshot = member_snapshot(changes, tracker, local, ledger, store)
    return MeshNode(
        store=store, policies=policies, changes=changes, tasks=tasks, rejections=rejections, local=local,
        ledger=ledger, admissions=admissions, keyring=keyring, gossip=gossip, view=view, backend=backend,
        device=device, probing=probing, tracker=tracker, addresses=addresses, forwarding=forwarding,
        relay=relay, discovery=discovery, psk=psk, routes=routes, repairs=repairs, calls=calls, flaps=flaps,
        reconciler=reconciler, clamping=clamping, joiner=joiner, rtts=rtts, snapshot=snapshot,
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
        ),
    )  # fmt: skip


def _log_backend_trouble(error: BackEndError) -> None:
    log.error("WireGuard backend failed", error=str(error))
