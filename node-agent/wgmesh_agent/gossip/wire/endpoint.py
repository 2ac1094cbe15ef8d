"""A socket address, and its decoding from a member's advertised bytes.

Members advertise 4 or 16 address bytes which are compared byte for byte and relayed as received (gossip-wire §3.1);
only sockets need the decoded value.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from wgmesh_agent.gossip.errors import PeerError

IPAddress = IPv4Address | IPv6Address


class Endpoint(NamedTuple):
    """Destination of datagrams and streams: an IP address and a port 0..65535."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


def endpoint_of(addr: bytes, port: int) -> Endpoint:
    """Returns the socket address for advertised bytes: 4 (IPv4) or 16 (IPv6, or IPv4 in its mapped form).

    Raises PeerError for any other length.
    """
    if len(addr) == 4:
        return Endpoint(IPv4Address(addr), port)
    if len(addr) != 16:
        raise PeerError(f"an address has {len(addr)} bytes; 4 or 16 are possible")
    address = IPv6Address(addr)
    return Endpoint(address.ipv4_mapped or address, port)
