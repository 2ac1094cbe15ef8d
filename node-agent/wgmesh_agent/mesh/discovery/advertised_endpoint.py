"""This node's advertised endpoint: configured, or from a STUN server, or the source address towards a bootstrap
node.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

import structlog

from wgmesh_agent.linux.interface_addresses import (
    DEFAULT_ROUTE_PROBES,
    interface_mtu,
    reachable_addresses,
    sources_of,
    ways,
)
from wgmesh_agent.linux.route_lookup import local_addresses
from wgmesh_agent.mesh.discovery.stun import StunError, query_stun
from wgmesh_agent.mesh.membership.ledger import usable_endpoint
from wgmesh_agent.settings.model import HostPort, ListenAddress
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.model import Endpoint, IPAddress

log = structlog.get_logger()
Ranges = Sequence[IPv4Network | IPv6Network]
DEFAULT_UNDERLAY_MTU = 1500


class NoUsableEndpoint(Exception):
    """This node's endpoint cannot be determined, or not yet; one sentence with the setting to change."""


class UnusableEndpoint(NoUsableEndpoint):
    """The configured endpoint can never be this node's."""


async def advertised_endpoint(
    listen: ListenAddress | None,
    port: int,
    stun: HostPort | None,
    towards: Sequence[IPAddress],
    ranges: Ranges,
) -> Endpoint:
    """The endpoint at which peers reach this node's WireGuard.

    Args:
        towards: addresses of bootstrap nodes, best first; may be empty.
        ranges: the mesh's ranges, which cannot contain an endpoint.

    Raises:
        NoUsableEndpoint: no usable endpoint was found.
    """
    if listen is not None:
        return await _listen_endpoint(listen, port, ranges)
    if stun is not None:
        try:
            return _checked(await query_stun(stun.host, stun.port, port), ranges, f"the STUN server {stun}")
        except UnusableEndpoint as error:
            # The next response may be better.
            raise NoUsableEndpoint(str(error)) from error
        except StunError as error:
            raise NoUsableEndpoint(f"{error}; set -listen-addr, or another --stun-server") from error
    try:
        here = await ways()
    except KernelError as error:
        raise NoUsableEndpoint(f"cannot read the addresses of this machine: {error}") from error
    # Source addresses towards bootstrap nodes, then that of the default route, then all addresses of interfaces.
    for target in towards:
        for source in sources_of((target,)):
            if here.leads_towards(target, source) and usable_endpoint(Endpoint(source, port), ranges):
                return Endpoint(source, port)
    for _, address in here.candidates():
        if usable_endpoint(Endpoint(address, port), ranges):
            return Endpoint(address, port)
    raise NoUsableEndpoint(
        "this machine has no address that peers can reach (link-local addresses, and those of bridges, VPNs "
        "and other meshes, do not count): give it one, or set -listen-addr"
    )


async def underlay_mtu(towards: Sequence[IPAddress], endpoint: Endpoint) -> tuple[int, int]:
    """The MTU in bytes below the tunnel, and its IP version: of the interface towards a bootstrap node, else of the one
    that has this node's endpoint, else of the one of the default route.

    A path MTU that the kernel has learned for a single destination is ignored: the tunnel leads to other peers as well,
    and the path MTU to each of them is probed (`probing.path_mtu`).
    """
    interfaces: dict[IPAddress, str] = {}
    with contextlib.suppress(KernelError):
        interfaces = {address: name for name, address in await reachable_addresses()}
    for source in (*sources_of(towards), endpoint.address, *sources_of(DEFAULT_ROUTE_PROBES)):
        if source in interfaces:
            with contextlib.suppress(OSError):
                return interface_mtu(interfaces[source]), source.version
    return DEFAULT_UNDERLAY_MTU, endpoint.address.version


def has_route_to(address: IPAddress) -> bool:
    """Whether this machine has a route to it."""
    return bool(sources_of((address,)))


async def _listen_endpoint(listen: ListenAddress, port: int, ranges: Ranges) -> Endpoint:
    if listen.address is not None:
        return _checked(Endpoint(listen.address, port), ranges, "-listen-addr")
    interface = listen.interface or ""
    try:
        found = [one.ip for one in await local_addresses(interface)]
    except KernelError as error:
        raise NoUsableEndpoint(f"-listen-addr: {error}") from error
    if not found:
        raise NoUsableEndpoint(f"the interface {interface} of -listen-addr has no address")
    if listen.index is not None:
        if listen.index >= len(found):
            raise NoUsableEndpoint(
                f"the interface {interface} has {len(found)} addresses; {listen} requires one more"
            )
        return _checked(Endpoint(found[listen.index], port), ranges, f"-listen-addr {listen}")
    for address in found:
        if not address.is_link_local and usable_endpoint(Endpoint(address, port), ranges):
            return Endpoint(address, port)
    raise NoUsableEndpoint(f"the interface {interface} of -listen-addr has no address that peers can reach")


def _checked(endpoint: Endpoint, ranges: Ranges, source: str) -> Endpoint:
    if usable_endpoint(endpoint, ranges):
        return endpoint
    raise UnusableEndpoint(
        f"{source} gives {endpoint.address}, which lies inside the mesh's own range, or is a loopback, "
        "multicast or unspecified address: peers cannot reach this node there"
    )
