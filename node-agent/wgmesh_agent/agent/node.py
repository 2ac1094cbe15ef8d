"""A running member of a mesh: the parts that `composition` has created, and their common life cycle."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from wgmesh_agent.agent.gossip_joiner import GossipJoiner
from wgmesh_agent.agent.gossip_keys import GossipKeys
from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.agent.rejoin import Rejoin
from wgmesh_agent.control.member_report import MemberReport
from wgmesh_agent.control.mesh_report import MeshReport
from wgmesh_agent.control.rtt_collector import RTTCollector
from wgmesh_agent.diagnosis.collector import FactCollector
from wgmesh_agent.diagnosis.link_sources import LinkSources
from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.linux.ip_forwarding import IPForwarding
from wgmesh_agent.linux.port_owner import needing
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.mesh.dataplane.indirect_paths import IndirectPaths
from wgmesh_agent.mesh.dataplane.reconciler import Reconciler
from wgmesh_agent.mesh.dataplane.repair_rate_limit import Repairs
from wgmesh_agent.mesh.discovery.local_addresses import LocalAddresses
from wgmesh_agent.mesh.discovery.service import EndpointDiscovery
from wgmesh_agent.mesh.join.dispute_resolver import DisputeResolver
from wgmesh_agent.mesh.join.port_binding import JoinServing
from wgmesh_agent.mesh.join.registrar import Registrar
from wgmesh_agent.mesh.membership.admissions import AdmissionService
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.mesh.probing.service import ProbeService
from wgmesh_agent.mesh.psk.service import PSKManager
from wgmesh_agent.mesh.rotation.service import RotationService
from wgmesh_agent.mesh.routing.mss_clamp import MSSClamp
from wgmesh_agent.mesh.routing.subnet_routes import SubnetRoutes
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.debounced_writer import DebouncedWriter
from wgmesh_agent.runtime.supervisor import Component, Supervisor
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.backend import Backend
from wgmesh_agent.wireguard.errors import BackEndError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshNode:
    """Started once with a mesh record, from a new admission or from disk; both are the same from here on."""

    store: StateStore
    policies: Policies
    changes: Signal
    tasks: Supervisor
    rejections: RejectionLog
    local: LocalNode
    ledger: Ledger
    admissions: AdmissionService
    gossip_keys: GossipKeys
    gossip: GossipNode
    view: MemberView
    backend: Backend
    device: DeviceCache
    probing: ProbeService
    tracker: MembershipTracker
    addresses: LocalAddresses
    forwarding: IPForwarding
    indirect: IndirectPaths
    discovery: EndpointDiscovery
    psk: PSKManager
    routes: SubnetRoutes
    repairs: Repairs
    reconciler: Reconciler
    clamping: MSSClamp
    joiner: GossipJoiner
    snapshot: DebouncedWriter
    rotations: RotationService
    disputes: DisputeResolver
    rejoin: Rejoin | None
    registrar: Registrar | None
    join_service: JoinServing | None
    links: LinkSources
    mesh_report: MeshReport
    member_report: MemberReport
    rtts: RTTCollector
    facts: FactCollector
    components: tuple[Component, ...]

    @property
    def record(self) -> MeshRecord:
        """The current mesh record."""
        return self.local.record

    async def start(self, peers: Iterable[Claim] = ()) -> None:
        """Programs WireGuard with all known peers, then starts gossip with them.

        Args:
            peers: from a bootstrap node's Peers(); empty after a restart.

        Raises:
            BackEndError: the interface cannot be created or adopted.
            OSError: the gossip port is in use.
        """
        for claim in peers:
            self.tracker.accept(claim, Origin.PEERS)
        await self.routes.start()
        await self.reconciler.reconcile()
        self.local.persist_if_possible()
        with needing(
            self.record.gossip_port, ("tcp", "udp"), "gossip; -gossip-port of the mesh, spec.gossip.port"
        ):
            await self.gossip.start()
        with needing(self.local.probe_port, ("udp",), "probes; the gossip port and one"):
            await self.probing.start()
        for component in self.components:
            self.tasks.keep(component.run, component.name)

    async def stop(self) -> None:
        """Stops the agent only: the interface stays, and peers keep this member."""
        await self.tasks.stop()
        await self.snapshot.write_now()
        self.probing.close()
        await self.gossip.close()
        await self.backend.close()

    async def leave(self) -> None:
        """Leaves permanently: announces it, then removes the interface and the content of the state folder."""
        self.probing.leave()
        try:
            await self.gossip.leave()
        except GossipError as error:
            log.warning("leave not fully propagated", error=str(error))
        await self.tasks.stop()
        self.probing.close()
        await self.gossip.close()
        await self._remove_from_host()
        self.store.clear()

    async def _remove_from_host(self) -> None:
        """Removes all that an agent creates on a machine except its files; by now nothing is running that could
        re-create it.

        | object | removed by |
        |---|---|
        | nftables table `inet wgmesh-wgNAME` | `MSSClamp.remove` |
        | `net.ipv4.conf.*.forwarding`, and rules that confine traffic from the tunnel | `IPForwarding.withdraw` |
        | the interface with addresses and routes, wireguard-go with its socket and log | `Backend.destroy` |
        | rules of the mesh's table, and its content | `Backend.destroy`, also without the interface |
        | state folder | `StateStore.clear` |
        | the agent's socket | `Session`, when its server has stopped |
        """
        await self.clamping.remove()
        try:
            await asyncio.to_thread(self.forwarding.withdraw)
        except (BackEndError, OSError) as error:
            log.error("cannot restore forwarding", error=str(error))
        try:
            await self.backend.destroy()
        except BackEndError as error:
            interface = self.local.config.interface
            log.error("interface not removed", interface=interface, error=str(error))
