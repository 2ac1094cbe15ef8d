"""MTU of the tunnel, derived from the underlay's MTU minus the outer headers."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network

from wgmesh_agent.wireguard.model import Network, Route

WIREGUARD_BYTES = 32
"""Type, receiver, counter and authentication tag of a data message (WireGuard paper section 5.4.6)."""

OVERHEAD_BYTES = {4: 20 + 8 + WIREGUARD_BYTES, 6: 40 + 8 + WIREGUARD_BYTES}
"""IP, UDP and WireGuard headers by the underlay's IP version: 60 and 80."""

MINIMUM_BYTES = {4: 576, 6: 1280}
"""Minimum MTU inside the tunnel by the mesh's IP version (RFC 791; RFC 8200 section 5, below which IPv6 is
disabled)."""

MAXIMUM_BYTES = 65535 - OVERHEAD_BYTES[6]
"""Maximum MTU: an outer IP packet's length is 16 bit (loopback underlays offer 65536)."""

DEFAULT_BYTES = 1420
"""Default if no underlay route is known yet: Ethernet's 1500 minus the larger overhead."""


SEGMENT_HEADERS_BYTES = {4: 20 + 20, 6: 40 + 20}
"""IP and TCP headers: difference between packet size and segment size."""


def path_routes(
    reduced: Mapping[IPv4Address | IPv6Address, int],
    addresses: Mapping[IPv4Address | IPv6Address, Sequence[IPv4Address | IPv6Address]],
) -> tuple[Route, ...]:
    """Returns a route to every address of each peer with a path MTU below the interface MTU, in a stable order.

    Args:
        reduced: path MTU to a peer, in bytes, by its primary mesh address.
        addresses: all addresses of a peer by its primary one.
    """
    routes = [
        path_route(ip_network(address), mtu)
        for primary, mtu in reduced.items()
        for address in addresses.get(primary, ())
    ]
    return tuple(sorted(routes, key=lambda one: (one.destination.version, int(one.destination[0]))))


def path_route(destination: Network, mtu: int) -> Route:
    """Returns a route with path MTU `mtu` in bytes. IPv6 has no packets smaller than 1280 bytes, but smaller TCP
    segments."""
    least = MINIMUM_BYTES[destination.version]
    if mtu >= least:
        return Route(destination, mtu)
    return Route(destination, least, mtu - SEGMENT_HEADERS_BYTES[destination.version])


def tunnel_mtu(underlays: Iterable[tuple[int, int]], *, mesh_version: int = 4) -> int:
    """Returns the MTU for the interface: the minimum of the `underlays`, each minus its overhead.

    An underlay is (route MTU in bytes, IP version 4 or 6), with an overhead of 60 or 80 bytes. Never below the
    minimum of the mesh's IP version (`mesh_version` 6 also for a dual-stack mesh): on an underlay with a smaller MTU
    the outer packets are fragmented instead. 1420 without any underlay.
    """
    inner = [mtu - OVERHEAD_BYTES[version] for mtu, version in underlays]
    return min(max(min(inner, default=DEFAULT_BYTES), MINIMUM_BYTES[mesh_version]), MAXIMUM_BYTES)
