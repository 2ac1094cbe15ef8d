"""Non-overlapping allowed IPs: WireGuard assigns a range to one peer, the last that names it."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Generic, TypeVar

from wgmesh_agent.wireguard.model import Network

T = TypeVar("T")


@dataclass(slots=True)
class AllowedIPIndex(Generic[T]):
    """Disjoint ranges of one address family, ordered by their first address."""

    firsts: list[int] = field(default_factory=list)
    lasts: list[int] = field(default_factory=list)
    owners: list[tuple[Network, T]] = field(default_factory=list)

    def overlapping(self, network: Network) -> tuple[Network, T] | None:
        """Returns the stored range that shares an address with `network`, and its owner."""
        first, last = _bounds(network)
        at = bisect_left(self.firsts, first)
        # Disjoint and ordered: only the previous range and the one at or after can overlap this one.
        if at and self.lasts[at - 1] >= first:
            return self.owners[at - 1]
        if at < len(self.firsts) and self.firsts[at] <= last:
            return self.owners[at]
        return None

    def add(self, network: Network, owner: T) -> None:
        """Adds a range that overlaps no stored one."""
        first, last = _bounds(network)
        at = bisect_left(self.firsts, first)
        self.firsts.insert(at, first)
        self.lasts.insert(at, last)
        self.owners.insert(at, (network, owner))


def _bounds(network: Network) -> tuple[int, int]:
    first = int(network.network_address)
    return first, first + (1 << network.max_prefixlen - network.prefixlen) - 1


def merged(networks: Iterable[Network]) -> list[Network]:
    """Returns the same addresses without nested ranges: a peer may name a range and one inside it."""
    given = list(networks)
    four = [one for one in given if isinstance(one, IPv4Network)]
    six = [one for one in given if isinstance(one, IPv6Network)]
    # Nearly every peer has one address per family; collapsing takes ten times as long as everything else.
    return [
        *(four if len(four) < 2 else collapse_addresses(four)),
        *(six if len(six) < 2 else collapse_addresses(six)),
    ]
