"""Networks that this machine reaches by each interface: of its addresses, and routes. Reads the kernel; blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface, ip_network

from wgmesh_agent.linux.rtnetlink import open_rtnetlink

Network = IPv4Network | IPv6Network
_FAMILIES = ((2, "0.0.0.0"), (10, "::"))  # noqa: S104 - the default route
_MAIN_TABLE, _UNICAST = 254, 1


@dataclass(slots=True)
class LocalInterface:
    """An interface; `alias` names its creator."""

    name: str
    up: bool
    alias: str
    addresses: list[IPv4Address | IPv6Address] = field(default_factory=list)
    networks: list[Network] = field(default_factory=list)
    """Of its addresses."""
    routes: list[Network] = field(default_factory=list)
    """Of the main table."""


def local_interfaces() -> list[LocalInterface]:
    """All of them, loopback included. Raises KernelError."""
    with open_rtnetlink("listing interfaces, addresses and routes") as ipr:
        found = {
            link["index"]: LocalInterface(
                link.get_attr("IFLA_IFNAME"), bool(link["flags"] & 1), link.get_attr("IFLA_IFALIAS") or ""
            )
            for link in ipr.link("dump")
        }
        for one in ipr.addr("dump"):
            if one["index"] in found:
                text = one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS")
                address = ip_interface(f"{text}/{one['prefixlen']}")
                found[one["index"]].addresses.append(address.ip)
                found[one["index"]].networks.append(address.network)
        for family, anywhere in _FAMILIES:
            for route in ipr.route("dump", family=family, table=_MAIN_TABLE):
                index = route.get_attr("RTA_OIF")
                if route["type"] == _UNICAST and index in found:
                    text = f"{route.get_attr('RTA_DST') or anywhere}/{route['dst_len']}"
                    found[index].routes.append(ip_network(text))
    return list(found.values())
