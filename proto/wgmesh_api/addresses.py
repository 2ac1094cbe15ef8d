"""Usable member addresses within a range."""

from __future__ import annotations

from ipaddress import IPv6Address

from wgmesh_api.values import IPAddress, IPNetwork


def is_usable_host(address: IPAddress, network: IPNetwork) -> bool:
    """Returns whether a member may have this address: in the range, and neither its first nor its broadcast address.

    The first address is the network's own; in IPv6 that is the anycast address of routers (RFC 4291, section 2.6.1).
    Ranges of one or two addresses have neither. An address with a zone is distinct for a dict and the same for
    WireGuard: no member may have one.
    """
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return False
    if address.version != network.version or address not in network:
        return False
    if network.num_addresses <= 2:
        return True
    if address == network.network_address:
        return False
    return network.version == 6 or address != network.broadcast_address
