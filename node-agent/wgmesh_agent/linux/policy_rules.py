"""Routing rules that direct packets for networks behind members to a mesh's own routing table. Blocking.

| packets | table |
|---|---|
| WireGuard's own | as without these rules: a tunnel never runs through itself |
| from this node's mesh addresses, or the networks it advertises | the mesh's table, before the main one |
| of this machine whose source is not chosen yet | the main table without its default route; then the mesh's table |
| all others: from other addresses of this machine, and forwarded ones | unchanged |

Peers accept packets from those addresses only, so only those are diverted from the host's own routes (ADR 37). The
mesh's table contains the networks behind members and nothing else: a packet to any other destination falls through.
"""

from __future__ import annotations

import errno
import socket
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from pyroute2.netlink.exceptions import NetlinkError

from wgmesh_agent.wireguard.model import ROUTE_PROTOCOL, InterfaceSpec, Network

if TYPE_CHECKING:
    from wgmesh_agent.linux.rtnetlink import Rtnetlink

FIRST_PRIORITY, MAX_MESHES, PRIORITIES_PER_MESH = 10_000, 4_000, 5
"""Priorities: after the rules of network plugins, and before the main table's, 32766. The search for free ones starts
here for each mesh.
"""
_USED = 3
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_MAIN, _MAIN_PRIORITY = 254, 32766
_TO_TABLE, _GOTO, _NOTHING = 1, 2, 3
_UDP = 17
_NO_SOURCE = "0.0.0.0/32"
_NONE = 0xFFFFFFFF
_INVERTED, _FIND_SOURCE = 0x2, 0x10000
"""Flags (linux/fib_rules.h). With the second, an IPv6 rule matches packets whose source will be selected to be
its own.
"""
_SELECTORS = (
    "FRA_IIFNAME",
    "FRA_OIFNAME",
    "FRA_FWMARK",
    "FRA_FWMASK",
    "FRA_TUN_ID",
    "FRA_L3MDEV",
    "FRA_UID_RANGE",
    "FRA_IP_PROTO",
    "FRA_SPORT_RANGE",
    "FRA_DPORT_RANGE",
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of ours, identified by the number of our table: as its table, also where its action needs none, or as
    `tag`.

    Attributes:
        target: the priority to continue at.
        source: a network as text.
        ports: the UDP source port.
        local: for this machine's own packets only.
        no_default: default routes do not match.
        tag: an interface group that no interface is in; routes by its interfaces do not match either.
        finds: for packets without a source, if `source` is the one that will be selected (IPv6).
    """

    priority: int
    action: int = _TO_TABLE
    table: int = 0
    target: int = 0
    source: str = ""
    ports: str = ""
    local: bool = False
    no_default: bool = False
    tag: int = 0
    finds: bool = False


@dataclass(frozen=True, slots=True)
class Foreign:
    """A foreign rule; `main` if it directs all packets to the main table, `no_default` if without its default route."""

    priority: int
    main: bool = False
    no_default: bool = False


def routing_table_of(interface: str) -> int:
    """The number of the routing table that belongs to an interface: the first byte is our protocol number."""
    return ROUTE_PROTOCOL << 24 | zlib.crc32(interface.encode()) & 0xFFFFFF


def first_priority_of(interface: str) -> int:
    """The first of the priorities of an interface's rules, if no foreign rules are there."""
    return FIRST_PRIORITY + zlib.crc32(interface.encode()) % MAX_MESHES * PRIORITIES_PER_MESH


def apply_rules(ipr: Rtnetlink, spec: InterfaceSpec) -> bool:
    """Sets the rules for each IP version that has routes in the table, and removes those of others; returns whether any
    changed.
    """
    changed = False
    for version, family in _FAMILIES.items():
        routed = any(route.destination.version == version for route in spec.subnet_routes)
        order = _dump(ipr, family, spec.name)
        wanted = list(wanted_rules(spec, version, order)) if routed else []
        found = [one for one in order if isinstance(one, Rule)]
        stale = _misplaced(order, wanted) | (set(found) - set(wanted))
        lacking = [one for one in wanted if one not in found or one in stale]
        for rule in sorted(stale, key=lambda one: -one.priority):
            _change(ipr, "del", family, rule)
        for rule in lacking:
            _change(ipr, "add", family, rule)
        changed = changed or bool(stale or lacking)
    return changed


def remove_rules(ipr: Rtnetlink, interface: str) -> None:
    """Removes the rules that belong to an interface."""
    for family in _FAMILIES.values():
        found = [one for one in _dump(ipr, family, interface) if isinstance(one, Rule)]
        for rule in sorted(found, key=lambda one: -one.priority):
            _change(ipr, "del", family, rule)


def wanted_rules(spec: InterfaceSpec, version: int, order: Sequence[Rule | Foreign]) -> Iterator[Rule]:
    """Our rules among those of `order`, which is the kernel's, in the order in which they are to be added."""
    table = routing_table_of(spec.name)
    late = _late(order)
    last = late.priority if late.no_default else max(late.priority - 1, 0)
    first = _free(spec.name, order, last)
    ports = f"{spec.port}:{spec.port}"
    own: list[Network] = [one.network for one in spec.addresses if one.version == version]
    yield Rule(first, _GOTO, table, target=first + 2, ports=ports)
    for network in dict.fromkeys((*own, *spec.local_networks)):
        if network.version == version:
            yield Rule(first + 1, table=table, source=str(network))
    yield Rule(first + 2, _NOTHING, table)
    # These precede the lookup of the main table: its routes except the default route are found as before.
    yield Rule(last, _GOTO, table, target=last + 1, ports=ports)
    if late.main and not late.no_default:
        source = _NO_SOURCE if version == 4 else ""
        yield Rule(last, table=_MAIN, source=source, local=True, no_default=True, tag=table)
    if version == 4:
        yield Rule(last, table=table, source=_NO_SOURCE, local=True)
    else:
        for network in own:
            yield Rule(last, table=table, source=str(network), local=True, finds=True)
    yield Rule(last + 1, _NOTHING, table)


def _late(order: Sequence[Rule | Foreign]) -> Foreign:
    """The rule by which all packets reach the main table first."""
    found = (one for one in order if isinstance(one, Foreign) and one.main)
    return next(found, Foreign(_MAIN_PRIORITY))


def _free(interface: str, order: Sequence[Rule | Foreign], last: int) -> int:
    """Free priorities before `last`: those of our rules, or the next ones."""
    taken = {one.priority for one in order if isinstance(one, Foreign)}
    stand = (one.priority - 2 for one in order if isinstance(one, Rule) and one.action == _NOTHING)
    # Keeps the current priorities: otherwise two meshes would move each other's rules.
    start = next((one for one in stand if FIRST_PRIORITY <= one < last - _USED), first_priority_of(interface))
    turns = range(0, MAX_MESHES * PRIORITIES_PER_MESH, PRIORITIES_PER_MESH)
    places = (
        FIRST_PRIORITY + (start - FIRST_PRIORITY + turn) % (MAX_MESHES * PRIORITIES_PER_MESH)
        for turn in turns
    )
    # On a host that looks the main table up early there is room only there.
    earlier = range(max(last - _USED, 0), -1, -1)
    return next(
        (
            place
            for place in chain(places, earlier)
            if place + _USED <= last and taken.isdisjoint(range(place, place + _USED))
        ),
        max(last - _USED, 0),
    )


def _misplaced(order: Sequence[Rule | Foreign], wanted: Sequence[Rule]) -> set[Rule]:
    """Of the desired rules that share a priority with others: those in a wrong order, or not right before the rule that
    they belong before. The kernel adds a new rule behind those of its priority.
    """
    at = max((one.priority for one in wanted if one.action == _TO_TABLE), default=0)
    group = [one for one in wanted if one.priority == at]
    found = [one for one in order if one in group]
    late = _late(order)
    after = [one for one in order if one.priority == at]
    behind = late.priority > at and isinstance(after[-1], Foreign) if after else False
    return set(found) if found != group or behind else set()


def _dump(ipr: Rtnetlink, family: int, interface: str) -> list[Rule | Foreign]:
    """All rules in the kernel's order; ours are the interface's."""
    table = routing_table_of(interface)
    former = range(first_priority_of(interface), first_priority_of(interface) + PRIORITIES_PER_MESH)
    return [
        rule if table in (rule.table, rule.tag) or _is_former(rule, former, message) else _foreign(message)
        for message in ipr.rule("dump", family=family)
        for rule in (_rule(message),)
    ]


def _is_former(rule: Rule, places: range, message: Any) -> bool:
    """Whether an earlier release created it, whose rules were identified by their priority."""
    return (
        message.get_attr("FRA_PROTOCOL") == ROUTE_PROTOCOL
        and rule.priority in places
        and not rule.tag
        and rule.table in (0, _MAIN)
    )


def _rule(message: Any) -> Rule:
    action = message["action"]
    group = message.get_attr("FRA_SUPPRESS_IFGROUP")
    return Rule(
        message.get_attr("FRA_PRIORITY") or 0,
        action,
        message.get_attr("FRA_TABLE") or 0,
        message.get_attr("FRA_GOTO") or 0,
        f"{message.get_attr('FRA_SRC')}/{message['src_len']}" if message["src_len"] else "",
        message.get_attr("FRA_SPORT_RANGE") or "",
        message.get_attr("FRA_IIFNAME") == "lo",
        message.get_attr("FRA_SUPPRESS_PREFIXLEN") == 0,
        0 if group in (None, _NONE) else group,
        bool(message["flags"] & _FIND_SOURCE),
    )


def _foreign(message: Any) -> Foreign:
    selective = message["src_len"] or message["dst_len"] or message["tos"] or message["flags"] & _INVERTED
    main = (
        message["action"] == _TO_TABLE
        and message.get_attr("FRA_TABLE") == _MAIN
        and message.get_attr("FRA_SUPPRESS_IFGROUP") in (None, _NONE)
        and message.get_attr("FRA_SUPPRESS_PREFIXLEN") in (None, _NONE, 0)
        and not selective
        and not any(message.get_attr(one) for one in _SELECTORS)
    )
    return Foreign(
        message.get_attr("FRA_PRIORITY") or 0, main, main and message.get_attr("FRA_SUPPRESS_PREFIXLEN") == 0
    )


def _change(ipr: Rtnetlink, command: str, family: int, rule: Rule) -> None:
    try:
        ipr.rule(command, **_message(family, rule))
    except NetlinkError as error:
        # Another program was faster.
        if error.code != {"add": errno.EEXIST, "del": errno.ENOENT}[command]:
            raise


def _message(family: int, rule: Rule) -> dict[str, Any]:
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
    if rule.tag:
        message["FRA_SUPPRESS_IFGROUP"] = rule.tag
    if rule.finds:
        message["flags"] = _FIND_SOURCE
    return message
