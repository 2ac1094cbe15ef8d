"""This machine's interfaces and addresses, as candidates for its endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from wgmesh_agent.linux.address_candidates import Card, Held, candidates, is_way_towards
from wgmesh_agent.linux.route_lookup import addresses_by_interface, lookup_route
from wgmesh_agent.linux.rtnetlink import open_rtnetlink
from wgmesh_agent.linux.wireguard_interface import ALIAS
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.model import IPAddress

_SIOCGIFMTU = 0x8921
_IFREQ = struct.Struct("16si20x")
_UP, _LOOPBACK = 0x1, 0x8
_DEPRECATED, _PERMANENT = 0x20, 0x80
# Documentation addresses (RFC 5737, RFC 3849): a route lookup for them finds the default route; nothing is sent.
DEFAULT_ROUTE_PROBES = (ip_address("192.0.2.1"), ip_address("2001:db8::1"))


@dataclass(frozen=True, slots=True)
class Ways:
    """Addresses of this machine at one moment.

    Attributes:
        cards, held: its interfaces and their addresses, without link-local ones and those of loopback.
        defaults: source addresses of the default routes, one per family.
    """

    cards: tuple[Card, ...]
    held: tuple[Held, ...]
    defaults: tuple[IPAddress, ...]

    def candidates(self) -> list[tuple[str, IPAddress]]:
        """Interface and address that peers may be able to reach, best first."""
        return candidates(self.cards, self.held, self.defaults)

    def leads_towards(self, target: IPAddress, source: IPAddress) -> bool:
        """Whether `source`, from which packets to `target` leave, is an address to advertise."""
        return is_way_towards(source, target, self.cards, self.held, self.defaults)


async def ways() -> Ways:
    """Reads them from the kernel. Raises KernelError."""
    # pyroute2's calls run their own event loop, which is not possible in a thread with a running one.
    return await asyncio.to_thread(_ways)


async def candidate_addresses() -> list[tuple[str, IPAddress]]:
    """Interface and address that peers may be able to reach, best first. Raises KernelError."""
    return (await ways()).candidates()


async def reachable_addresses() -> list[tuple[str, IPAddress]]:
    """Interface and address, IPv4 first on each, without loopback and link-local ones. Raises KernelError."""
    return [
        (name, one.ip)
        for name, addresses in (await addresses_by_interface()).items()
        for one in addresses
        if not (one.ip.is_loopback or one.ip.is_link_local)
    ]


class InterfaceAddresses:
    """Reads the addresses of this machine; implements `AddressReader`."""

    async def reachable(self) -> list[tuple[str, IPAddress]]:
        """Like `reachable_addresses`."""
        return await reachable_addresses()

    async def candidates(self) -> list[tuple[str, IPAddress]]:
        """Like `candidate_addresses`."""
        return await candidate_addresses()


async def has_addresses() -> bool:
    """Whether this machine has any address that peers may be able to reach; True if the kernel does not answer."""
    try:
        return bool(await candidate_addresses())
    except KernelError:
        return True


def interface_mtu(name: str) -> int:
    """Bytes. Raises OSError if there is no such interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        answer = fcntl.ioctl(handle, _SIOCGIFMTU, _IFREQ.pack(name.encode(), 0))
    return int(_IFREQ.unpack(answer)[1])


def sources_of(targets: Iterable[IPAddress]) -> list[IPAddress]:
    """The source addresses of packets to `targets`, of those to which there is a route."""
    found: list[IPAddress] = []
    for target in targets:
        with contextlib.suppress(KernelError):
            found.append(lookup_route(target).source)
    return found


def _ways() -> Ways:
    with open_rtnetlink("listing the interfaces of this machine") as ipr:
        cards = tuple(
            Card(
                name=str(link.get_attr("IFLA_IFNAME")),
                index=link["index"],
                kind=str(info.get_attr("IFLA_INFO_KIND") or "")
                if (info := link.get_attr("IFLA_LINKINFO"))
                else "",
                up=bool(link["flags"] & _UP),
                loopback=bool(link["flags"] & _LOOPBACK),
                master=link.get_attr("IFLA_MASTER") or 0,
                ours=link.get_attr("IFLA_IFALIAS") == ALIAS,
            )
            for link in ipr.link("dump")
        )
        held = []
        for one in ipr.addr("dump"):
            address = ip_address(one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS"))
            flags = one.get_attr("IFA_FLAGS") or one["flags"]
            if not (address.is_loopback or address.is_link_local):
                held.append(
                    Held(
                        one["index"],
                        address,
                        one["prefixlen"],
                        lasting=bool(flags & _PERMANENT),
                        deprecated=bool(flags & _DEPRECATED),
                    )
                )
    return Ways(cards, tuple(held), tuple(sources_of(DEFAULT_ROUTE_PROBES)))
