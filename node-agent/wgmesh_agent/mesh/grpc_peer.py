"""Address of a caller, from gRPC's name of the other end of a call."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from wgmesh_agent.wireguard.model import IPAddress


def caller_of_inner(peer: str) -> str:
    """The caller's address and port as gRPC writes them, from the name of the Unix socket that forwards its connection.

    Args:
        peer: gRPC's name of the other end; returned unchanged if it is not such a socket.
    """
    parts = peer.rsplit(".", 2)
    if not peer.startswith("unix-abstract:") or len(parts) != 3:
        return peer
    try:
        packed = bytes.fromhex(parts[1])
        address = IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
    except ValueError:
        return peer
    return f"ipv4:{address}:{parts[2]}" if address.version == 4 else f"ipv6:[{address}]:{parts[2]}"


def source_of(peer: str) -> str:
    """The key under which a call is counted, from gRPC's name of the other end; for a name without an address, the part
    before its last colon.
    """
    host = peer.rpartition(":")[0]
    try:
        return counted_source(ip_address(host.partition(":")[2].strip("[]").partition("%")[0]))
    except ValueError:
        return host


def counted_source(address: IPAddress) -> str:
    """The key under which a connection is counted: an IPv4 address, or a /64 of IPv6, because one machine may have all
    of it.
    """
    return str(address) if address.version == 4 else str(IPv6Network((int(address) >> 64 << 64, 64)))
