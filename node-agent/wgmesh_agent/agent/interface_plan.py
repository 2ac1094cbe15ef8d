"""Desired state of this node's WireGuard interface: from the node, networks behind members, and path MTUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_interface

from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.probing.service import ProbeService
from wgmesh_agent.mesh.routing.subnet_routes import SubnetRoutes
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import InterfaceSpec, Network


class NodeInterfacePlan:
    """An `InterfacePlan` of the reconciler."""

    def __init__(self, local: LocalNode, routes: SubnetRoutes, probing: ProbeService) -> None:
        self._local = local
        self._routes = routes
        self._probing = probing

    def interface_spec(self) -> InterfaceSpec:
        """Name, addresses, MTU and routes."""
        local, mtus = self._local, self._probing.reduced_mtus()
        return InterfaceSpec(
            name=local.config.interface,
            addresses=tuple(ip_interface(address) for address in local.addresses),
            ranges=local.ranges,
            mtu=local.config.mtu,
            peer_routes=self._routes.peer_routes(mtus),
            subnet_routes=self._routes.device_routes(mtus),
            local_networks=local.routes,
            port=local.listen_port,
        )

    def allowed_ips(self) -> Mapping[PublicKey, Sequence[Network]]:
        """The networks behind peers, by key."""
        return self._routes.allowed_ips()
