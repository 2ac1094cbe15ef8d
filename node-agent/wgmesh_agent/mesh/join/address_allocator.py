"""Address allocation: the mesh address of the next joiner.

Several bootstrap nodes may admit at once. Each prefers its own share of the range (rendezvous hashing over the
bootstrap nodes it knows), so that two that cannot query each other still do not pick the same address. Those that can
be reached are queried before an address is promised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from wgmesh_agent.wireguard.model import IPAddress
from wgmesh_api.addresses import is_usable_host

IPNetwork = IPv4Network | IPv6Network


MAX_FOREIGN = 4096
"""How many free addresses of other bootstrap nodes' shares are skipped before one of them is used.

With n bootstrap nodes, k in a row have probability (1 - 1/n)^k unless the own share is exhausted. Each costs n hashes
on the event loop.
"""


class RangeExhausted(Exception):
    """No address is left in one of the mesh's ranges."""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of every range that this bootstrap node prefers."""

    own: str
    bootstraps: tuple[str, ...]

    def holds(self, address: IPAddress) -> bool:
        if len(self.bootstraps) < 2:
            return True
        packed = address.packed
        return max(self.bootstraps, key=lambda name: _weight(name, packed)) == self.own


def _weight(name: str, packed: bytes) -> bytes:
    return hashlib.blake2b(packed, key=name.encode()[:64], digest_size=8).digest()


class AddressAllocator:
    """Allocates upwards in each range from the last address, so that a released address is not reused at once."""

    def __init__(self, ranges: Sequence[IPNetwork]) -> None:
        self._ranges = tuple(ranges)
        self._cursor = dict.fromkeys(self._ranges, 1)

    def allocate(self, taken: Callable[[IPAddress], bool], share: Share) -> tuple[IPAddress, ...]:
        """One free address of each range.

        Raises:
            RangeExhausted: names the range, and its number of addresses.
        """
        return tuple(self._allocate_one(network, taken, share) for network in self._ranges)

    def _allocate_one(
        self, network: IPNetwork, taken: Callable[[IPAddress], bool], share: Share
    ) -> IPAddress:
        fallback: tuple[int, IPAddress] | None = None
        for passed, (offset, address) in enumerate(self._free(network, taken), 1):
            if share.holds(address):
                self._cursor[network] = offset + 1
                return address
            fallback = fallback or (offset, address)
            if passed >= MAX_FOREIGN:
                break
        if fallback is None:
            raise RangeExhausted(f"no address is left in {network}, which has {network.num_addresses} in all")
        return fallback[1]

    def _free(
        self, network: IPNetwork, taken: Callable[[IPAddress], bool]
    ) -> Iterator[tuple[int, IPAddress]]:
        size = min(network.num_addresses, 1 << 20)
        base, start = int(network.network_address), self._cursor[network]
        for step in range(size):
            offset = (start + step) % size
            address = type(network.network_address)(base + offset)
            if is_usable_host(address, network) and not taken(address):
                yield offset, address
