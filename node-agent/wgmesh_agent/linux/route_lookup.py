"""The underlay: source address and MTU of the route to a destination, and addresses of a link."""

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_interface
from typing import Protocol

from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.model import Address, Interface, Network

_IP_MTU, _IPV6_MTU = 14, 24
_DISCARD_PORT = 9


@dataclass(frozen=True, slots=True)
class UnderlayRoute:
    """The route to a destination: the `source` address this host uses, and the route's (path) MTU in bytes."""

    source: Address
    mtu: int


class RouteLookup(Protocol):
    """Finds the way to a destination; `lookup_route` does."""

    def __call__(self, destination: Address, /) -> UnderlayRoute:
        """Raises `KernelError` without a route. Does not block."""


def lookup_route(destination: Address) -> UnderlayRoute:
    """Queries the kernel by connecting a datagram socket, which sends nothing; raises `KernelError` without a route.

    The MTU includes a smaller path MTU that the kernel has learned. Does not block.
    """
    six = isinstance(destination, IPv6Address)
    family = socket.AF_INET6 if six else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            scope = int(destination.scope_id or 0) if isinstance(destination, IPv6Address) else 0
            host = str(destination).partition("%")[0]
            probe.connect((host, _DISCARD_PORT, 0, scope) if six else (host, _DISCARD_PORT))
            source = ip_address(probe.getsockname()[0])
            mtu = probe.getsockopt(
                *((socket.IPPROTO_IPV6, _IPV6_MTU) if six else (socket.IPPROTO_IP, _IP_MTU))
            )
    except OSError as error:
        raise KernelError(f"this host has no route to {destination}: {error.strerror or error}") from error
    return UnderlayRoute(source, mtu)


async def addresses_by_interface() -> dict[str, tuple[Interface, ...]]:
    """Addresses of this machine's interfaces with their networks: IPv4 first, primary before secondary.

    Raises `KernelError`.
    """
    # pyroute2's calls run their own event loop, which is not possible in a thread with a running one.
    return await asyncio.to_thread(_addresses)


async def local_addresses(interface: str) -> tuple[Interface, ...]:
    """Those of one interface. Raises `KernelError` if there is none of this name."""
    found = await addresses_by_interface()
    if interface not in found:
        raise KernelError(f"there is no interface {interface!r}")
    return found[interface]


class NetworkReader(Protocol):
    """Reads what this machine is connected to; `connected_networks` does."""

    async def __call__(self, *, without: str) -> tuple[Network, ...]:
        """The networks of all interfaces but `without`; sorted. Raises `KernelError`."""


async def connected_networks(*, without: str) -> tuple[Network, ...]:
    """The networks of all addresses of this machine, except loopback's, link-local ones and those of `without`; sorted.

    Raises `KernelError`.
    """
    addresses = await addresses_by_interface()
    found = {one for name, several in addresses.items() if name != without for one in several}
    networks = {one.network for one in found if not (one.ip.is_loopback or one.ip.is_link_local)}
    return tuple(sorted(networks, key=lambda one: (one.version, one.network_address.packed, one.prefixlen)))


def egress_interface(network: Network) -> str:
    """The interface on which packets to `network` leave this machine. Raises `KernelError`. Blocking."""
    from wgmesh_agent.linux.rtnetlink import open_rtnetlink

    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    target = network[1] if network.num_addresses > 2 else network[0]
    with open_rtnetlink(f"looking up the route to {network}") as ipr:
        # The route to this machine's own address is by loopback, so its owner is looked up first.
        for one in ipr.addr("dump", family=family):
            address = ip_address(one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS"))
            if address in network:
                return socket.if_indextoname(one["index"])
        for message in ipr.route("get", family=family, dst=str(target)):
            index = message.get_attr("RTA_OIF")
            if index is not None:
                return socket.if_indextoname(index)
    raise KernelError(f"this host has no route to {network}")


def _addresses() -> dict[str, tuple[Interface, ...]]:
    from wgmesh_agent.linux.rtnetlink import open_rtnetlink

    names = dict(socket.if_nameindex())
    found: dict[str, list[Interface]] = {name: [] for name in names.values()}
    with open_rtnetlink("listing the addresses of this machine") as ipr:
        # One request for all: the cost is per request.
        for one in ipr.addr("dump"):
            if (name := names.get(one["index"])) is not None:
                address = one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS")
                found[name].append(ip_interface(f"{address}/{one['prefixlen']}"))
    return {name: tuple(sorted(several, key=lambda one: one.version)) for name, several in found.items()}
