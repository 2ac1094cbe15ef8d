"""This node's endpoint: as told, else as a STUN server sees it, else the source address towards a bootstrap node."""

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
    """This node's address cannot be told, or not yet; one sentence with what to set."""


class UnusableEndpoint(NoUsableEndpoint):
    """What was set can never be this node's address."""


async def advertised_endpoint(
    listen: ListenAddress | None,
    port: int,
    stun: HostPort | None,
    towards: Sequence[IPAddress],
    ranges: Ranges,
) -> Endpoint:
    """Where others reach this node's WireGuard.

    Args:
        towards: addresses of bootstrap nodes, best first; may be empty.
        ranges: the mesh's ranges, where an endpoint can never lie.

    Raises:
        NoUsableEndpoint: nothing usable was found.
    """
    if listen is not None:
        return await _listen_endpoint(listen, port, ranges)
    if stun is not None:
        try:
            return _checked(await query_stun(stun.host, stun.port, port), ranges, f"the STUN server {stun}")
        except UnusableEndpoint as error:
            # Another answer may be better.
            raise NoUsableEndpoint(str(error)) from error
        except StunError as error:
            raise NoUsableEndpoint(f"{error}; set -listen-addr, or another --stun-server") from error
    try:
        here = await ways()
    except KernelError as error:
        raise NoUsableEndpoint(f"this machine's addresses cannot be read: {error}") from error
    # Source addresses towards bootstrap nodes, then of the default route, then whatever the interfaces have.
    for target in towards:
        for source in sources_of((target,)):
            if here.leads_towards(target, source) and usable_endpoint(Endpoint(source, port), ranges):
                return Endpoint(source, port)
    for _, address in here.candidates():
        if usable_endpoint(Endpoint(address, port), ranges):
            return Endpoint(address, port)
    raise NoUsableEndpoint(
        "this machine has no address that others could reach (link-local ones, those of bridges, VPNs and other meshes "
        "are none): give it one, or set -listen-addr"
    )


async def underlay_mtu(towards: Sequence[IPAddress], endpoint: Endpoint) -> tuple[int, int]:
    """The MTU in bytes below the tunnel, and the IP version there: of the interface towards a bootstrap node, else of
    the one that has this node's endpoint, else of the one towards the internet.

    What the kernel has learned of a single path is left out: the tunnel leads to others as well, and what passes to
    each of them is probed (`probing.path_mtu`).
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
    """Whether this machine can send anything there."""
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
                f"the interface {interface} has {len(found)} addresses; {listen} asks for one more"
            )
        return _checked(Endpoint(found[listen.index], port), ranges, f"-listen-addr {listen}")
    for address in found:
        if not address.is_link_local and usable_endpoint(Endpoint(address, port), ranges):
            return Endpoint(address, port)
    raise NoUsableEndpoint(
        f"the interface {interface} of -listen-addr has no address that others could reach"
    )


def _checked(endpoint: Endpoint, ranges: Ranges, source: str) -> Endpoint:
    if usable_endpoint(endpoint, ranges):
        return endpoint
    raise UnusableEndpoint(
        f"{source} gives {endpoint.address}, which lies inside the mesh's own range, or is a loopback, multicast or "
        "unspecified address: others cannot reach this node there"
    )
