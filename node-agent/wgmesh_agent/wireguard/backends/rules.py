"""The rules that have packets looked up in a mesh's own routing table, for networks behind its members. Blocking.

| what | is looked up in |
|---|---|
| WireGuard's own packets | as if these rules were not there: a tunnel never runs through itself |
| packets from this node's mesh addresses, or the networks it announces | the mesh's table, before the main one |
| other packets of this machine's own | the main table but its default route; then the mesh's table |
| what it forwards for others | the main table, as ever |

Peers take packets from those addresses only. So what a machine answers from another address, to a pod that asked it,
goes back the way it came; and no network of the main table is shadowed but for pods, whose plugin has the same there by
another way.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..model import ROUTE_PROTOCOL, InterfaceSpec, Network

if TYPE_CHECKING:
    from .links import Rtnetlink

FIRST, MESHES, EACH = 10_000, 4_000, 5
"""Priorities: after the rules of network plugins, and before the main table's, 32766; five of its own for each mesh."""
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_MAIN = 254
_TO_TABLE, _GOTO, _NOTHING = 1, 2, 3
_UDP = 17


@dataclass(frozen=True, slots=True)
class _Rule:
    """`target` is the priority to go on at, `source` a network as text, `ports` the UDP source port; `local`: for this
    machine's own packets only.
    """

    priority: int
    action: int = _TO_TABLE
    table: int = 0
    target: int = 0
    source: str = ""
    ports: str = ""
    local: bool = False
    no_default: bool = False


def table_of(interface: str) -> int:
    """The number of the routing table that belongs to an interface: the first byte is our protocol number."""
    return ROUTE_PROTOCOL << 24 | zlib.crc32(interface.encode()) & 0xFFFFFF


def priority_of(interface: str) -> int:
    """The first of the priorities that belong to an interface."""
    return FIRST + zlib.crc32(interface.encode()) % MESHES * EACH


def settle(ipr: Rtnetlink, spec: InterfaceSpec) -> None:
    """The rules for each IP version that has routes in the table, none for others."""
    for version, family in _FAMILIES.items():
        routed = any(route.destination.version == version for route in spec.beyond)
        wanted = set(_wanted(spec, version)) if routed else set()
        found = _found(ipr, family, spec.name)
        for rule in sorted(wanted - found, key=lambda one: one.priority):
            ipr.rule("add", **_message(family, rule))
        for rule in sorted(found - wanted, key=lambda one: -one.priority):
            ipr.rule("del", **_message(family, rule))


def clear(ipr: Rtnetlink, interface: str) -> None:
    """Removes the rules that belong to an interface."""
    for family in _FAMILIES.values():
        for rule in sorted(_found(ipr, family, interface), key=lambda one: -one.priority):
            ipr.rule("del", **_message(family, rule))


def _wanted(spec: InterfaceSpec, version: int) -> Iterator[_Rule]:
    first, table = priority_of(spec.name), table_of(spec.name)
    yield _Rule(first, _GOTO, target=first + 4, ports=f"{spec.port}:{spec.port}")
    own: list[Network] = [one.network for one in spec.addresses]
    for network in (*own, *spec.sources):
        if network.version == version:
            yield _Rule(first + 1, table=table, source=str(network))
    yield _Rule(first + 2, table=_MAIN, local=True, no_default=True)
    yield _Rule(first + 3, table=table, local=True)
    yield _Rule(first + 4, _NOTHING)


def _found(ipr: Rtnetlink, family: int, interface: str) -> set[_Rule]:
    first = priority_of(interface)
    return {
        _Rule(
            message.get_attr("FRA_PRIORITY"),
            message["action"],
            message.get_attr("FRA_TABLE") if message["action"] == _TO_TABLE else 0,
            message.get_attr("FRA_GOTO") or 0,
            f"{message.get_attr('FRA_SRC')}/{message['src_len']}" if message["src_len"] else "",
            message.get_attr("FRA_SPORT_RANGE") or "",
            message.get_attr("FRA_IIFNAME") == "lo",
            message.get_attr("FRA_SUPPRESS_PREFIXLEN") == 0,
        )
        for message in ipr.rule("dump", family=family)
        if message.get_attr("FRA_PROTOCOL") == ROUTE_PROTOCOL
        and first <= (message.get_attr("FRA_PRIORITY") or 0) < first + EACH
    }


def _message(family: int, rule: _Rule) -> dict[str, Any]:
    message: dict[str, Any] = {
        "family": family,
        "priority": rule.priority,
        "action": rule.action,
        "protocol": ROUTE_PROTOCOL,
    }
    if rule.table:
        message["table"] = rule.table
    if rule.target:
        message["goto"] = rule.target
    if rule.source:
        address, _, length = rule.source.partition("/")
        message |= {"src": address, "src_len": int(length)}
    if rule.ports:
        message |= {"ip_proto": _UDP, "sport_range": rule.ports}
    if rule.local:
        message["iifname"] = "lo"
    if rule.no_default:
        message["FRA_SUPPRESS_PREFIXLEN"] = 0
    return message
