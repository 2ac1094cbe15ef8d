"""Subnet routes: which routes of peers are installed, which this node advertises, and the forwarding they need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from wgmesh_agent.linux.ip_forwarding import ForwardingPurpose, IPForwarding
from wgmesh_agent.linux.route_lookup import NetworkReader, egress_interface
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.routing.route_selection import (
    LocalRoutes,
    RouteRejection,
    RouteSelection,
    select_routes,
)
from wgmesh_agent.runtime.log_on_change import LogOnChange
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import IPAddress, Network, Route
from wgmesh_agent.wireguard.mtu import path_route, path_routes

log = structlog.get_logger()
POLL_INTERVAL_SECONDS = 15.0


class SubnetRoutes:
    """Subnet routes of a node and of its peers."""

    def __init__(
        self,
        interface: str,
        ledger: Ledger,
        refusals: RejectionLog,
        local: LocalNode,
        forwarding: IPForwarding,
        connected: NetworkReader,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when `allowed_ips` changes for a reason other than `local` and the ledger."""
        self._interface = interface
        self._ledger = ledger
        self._local = local
        self._refusals = refusals
        self._forwarding = forwarding
        self._read_connected = connected
        self._changed = changed
        self._connected: tuple[Network, ...] = ()
        self._restriction, self._fault = LogOnChange(), LogOnChange()
        self._known: frozenset[RouteRejection] = frozenset()
        self.rejected: tuple[RouteRejection, ...] = ()
        self.installed: Mapping[PublicKey, Sequence[Network]] = {}
        """The last result of `allowed_ips`."""

    def allowed_ips(self) -> Mapping[PublicKey, Sequence[Network]]:
        """The routes to install by member's key. A rejection is counted and logged once."""
        found = self._selection()
        self.rejected = found.rejections
        for refusal in found.rejections:
            if refusal not in self._known:
                self._refusals.record("route_overlap", str(refusal))
        self._known = frozenset(found.rejections)
        self.installed = found.by_key
        return found.by_key

    def peer_routes(self, reduced: Mapping[IPAddress, int]) -> tuple[Route, ...]:
        """The routes to members with a reduced path MTU. `reduced`: its value, by primary mesh address."""
        bindings = ((address, self._ledger.by_address(address)) for address in reduced)
        return path_routes(reduced, {a: binding.claim.addresses for a, binding in bindings if binding})

    def device_routes(self, reduced: Mapping[IPAddress, int]) -> tuple[Route, ...]:
        """The routing table's desired content. `reduced`: path MTU of a peer, by its primary mesh address."""
        routes = []
        for key, networks in self._selection().by_key.items():
            binding = self._ledger.by_key(key)
            mtu = reduced.get(binding.claim.addresses[0]) if binding is not None else None
            routes += [Route(network) if mtu is None else path_route(network, mtu) for network in networks]
        return tuple(sorted(routes, key=lambda one: (one.destination.version, one.destination[0].packed)))

    async def start(self) -> None:
        """Reads the networks that this machine is connected to."""
        self._connected = await self._read_connected_networks()

    async def run(self) -> None:
        """Reads connected networks periodically, and keeps forwarding as advertised routes need it."""
        while True:
            await asyncio.to_thread(self._update_forwarding)
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            connected = await self._read_connected_networks()
            if connected != self._connected:
                self._connected = connected
                self._changed()

    def _selection(self) -> RouteSelection:
        return select_routes(
            self._ledger, LocalRoutes(self._local.ranges, self._connected, self._local.routes)
        )

    async def _read_connected_networks(self) -> tuple[Network, ...]:
        try:
            return await self._read_connected(without=self._interface)
        except KernelError as error:
            log.warning("cannot read connected networks", error=str(error))
            return self._connected

    def _update_forwarding(self) -> None:
        interfaces = set()
        for network in self._local.routes:
            try:
                interface = egress_interface(network)
            except KernelError as error:
                log.warning(
                    "advertised route is unreachable from this node", route=str(network), error=str(error)
                )
            else:
                if network.version == 4:
                    interfaces.add(interface)
        self._log(self._restriction, self._forwarding.why_not(self._local.routes) or "")
        self._log(self._fault, self._forward(self._local.routes, interfaces))

    def _forward(self, networks: Sequence[Network], interfaces: Iterable[str]) -> str:
        """The error, or empty."""
        try:
            self._forwarding.require(ForwardingPurpose.GATEWAY, networks, interfaces)
        except (KernelError, OSError) as error:
            return str(error)
        return ""

    def _log(self, fault: LogOnChange, why: str) -> None:
        if fault.is_new(why):
            log.warning("advertised routes are not fully forwarded", error=why)
