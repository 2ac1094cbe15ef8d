"""The rules that have packets looked up in a mesh's own routing table, for networks behind its members. Blocking.

The table is asked before the main one, since a network's plugin may have the same networks there by another way; it
holds only what was vouched for and overlaps nothing this machine is connected to (`membership.routes`). WireGuard's own
packets pass it by, so that a network in which a peer's endpoint lies never sends the tunnel through itself.
"""

from __future__ import annotations

import socket
import zlib
from typing import TYPE_CHECKING, Any

from ..model import ROUTE_PROTOCOL, InterfaceSpec

if TYPE_CHECKING:
    from .links import Rtnetlink

PRIORITY = 32087
"""After the rules of network plugins, which are below this, and before the main table's, 32766."""
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_TO_TABLE, _NOT = 1, 0x2
_UDP = 17


def table_of(interface: str) -> int:
    """The number of the routing table that belongs to an interface: the first byte is our protocol number."""
    return ROUTE_PROTOCOL << 24 | zlib.crc32(interface.encode()) & 0xFFFFFF


def settle(ipr: Rtnetlink, spec: InterfaceSpec) -> None:
    """One rule for each IP version that has routes in the table, none for others."""
    for version, family in _FAMILIES.items():
        wanted = any(route.destination.version == version for route in spec.beyond)
        ports = f"{spec.port}:{spec.port}"
        found = list(_found(ipr, family, spec.name))
        if wanted and ports not in found:
            ipr.rule("add", **_rule(family, spec.name, ports))
        for stale in found:
            if not wanted or stale != ports:
                ipr.rule("del", **_rule(family, spec.name, stale))


def clear(ipr: Rtnetlink, interface: str) -> None:
    """Removes the rules of this interface's table."""
    for family in _FAMILIES.values():
        for ports in list(_found(ipr, family, interface)):
            ipr.rule("del", **_rule(family, interface, ports))


def _found(ipr: Rtnetlink, family: int, interface: str) -> set[str]:
    """The ports our rules for this table leave out."""
    return {
        str(message.get_attr("FRA_SPORT_RANGE"))
        for message in ipr.rule("dump", family=family)
        if message.get_attr("FRA_TABLE") == table_of(interface)
        and message.get_attr("FRA_PROTOCOL") == ROUTE_PROTOCOL
    }


def _rule(family: int, interface: str, ports: str) -> dict[str, Any]:
    return {
        "family": family,
        "table": table_of(interface),
        "priority": PRIORITY,
        "action": _TO_TABLE,
        "flags": _NOT,
        "ip_proto": _UDP,
        "sport_range": ports,
        "protocol": ROUTE_PROTOCOL,
    }
