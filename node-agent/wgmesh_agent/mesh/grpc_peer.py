"""Who calls, from gRPC's name of the other end of a call."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from wgmesh_agent.wireguard.model import IPAddress


def caller_of_inner(peer: str) -> str:
    """The caller's address and port, as gRPC writes one, from the name of the unix socket that speaks for it.

    Args:
        peer: gRPC's name of the other end; returned as it is if it is not such a socket.
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
    """Who is counted for a call, from gRPC's name of the other end; of a name without an address, what precedes its
    last colon.
    """
    host = peer.rpartition(":")[0]
    try:
        return counted_source(ip_address(host.partition(":")[2].strip("[]").partition("%")[0]))
    except ValueError:
        return host


def counted_source(address: IPAddress) -> str:
    """Who is counted for a connection: an IPv4 address, or a /64 of IPv6, which one machine may have all of."""
    return str(address) if address.version == 4 else str(IPv6Network((int(address) >> 64 << 64, 64)))
