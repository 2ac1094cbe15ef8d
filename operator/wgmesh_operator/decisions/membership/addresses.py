"""Allocation of mesh addresses: one per name, kept as long as its WgMeshNode, free again afterwards.

The search starts at a hash of the name, so a node that is removed and returns gets its former address unless it was
allocated in the meantime, and a released address is rarely the next one allocated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Network

from wgmesh_api.fields import IPAddress, IPNetwork

_WIDEST = 1 << 32


class RangeExhausted(Exception):
    """Every address of `network` is taken."""

    def __init__(self, network: IPNetwork) -> None:
        self.network = network
        super().__init__(f"{network} has no address left: {capacity(network)} are in use")


def capacity(network: IPNetwork) -> int:
    """Number of members for which `network` has addresses."""
    return network.num_addresses - _lowest(network) - _kept_back_at_the_end(network)


def usable(address: IPAddress, network: IPNetwork) -> bool:
    """Whether `address` is usable for a host of `network`."""
    if address.version != network.version or address not in network:
        return False
    offset = int(address) - int(network.network_address)
    return _lowest(network) <= offset < network.num_addresses - _kept_back_at_the_end(network)


def allocate(
    name: str, networks: Sequence[IPNetwork], taken: AbstractSet[IPAddress]
) -> tuple[IPAddress, ...]:
    """One address of each of `networks` for `name`, none of them in `taken`.

    Raises:
        RangeExhausted: a range is full.
    """
    return tuple(_allocate_one(name, network, taken) for network in networks)


def _allocate_one(name: str, network: IPNetwork, taken: AbstractSet[IPAddress]) -> IPAddress:
    # short addresses of a huge range are sufficient, and easier to read
    size, first = min(capacity(network), _WIDEST), int(network.network_address) + _lowest(network)
    address_type = type(network.network_address)
    start = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest()) % size
    # among one more than are taken there must be a free one, so a huge empty range is never searched completely
    for step in range(min(size, len(taken) + 1)):
        address = address_type(first + (start + step) % size)
        if address not in taken:
            return address
    raise RangeExhausted(network)


def _lowest(network: IPNetwork) -> int:
    # the network's own address; in IPv6 that is the routers' anycast address (RFC 4291, section 2.6.1)
    return 1 if network.num_addresses > 2 else 0


def _kept_back_at_the_end(network: IPNetwork) -> int:
    return 1 if isinstance(network, IPv4Network) and network.num_addresses > 2 else 0
