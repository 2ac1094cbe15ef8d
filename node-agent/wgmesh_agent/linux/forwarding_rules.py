"""Restricts the destinations of packets that come out of the tunnel, by routing rules on their input interface.

Routing rules, because nftables may be missing. Packets for this machine itself are looked up first on most machines,
but not where that rule was moved; here as well. Blocking, like `wireguard_interface`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wgmesh_agent.linux.rtnetlink import open_rtnetlink
from wgmesh_agent.wireguard.model import ROUTE_PROTOCOL, Network

PRIORITY = 8787
"""Of the rules, with those before and after: before the main table's 32766. Other programs may have rules
there, too.
"""
_AF_INET, _LOCAL_TABLE, _MAIN_TABLE = 2, 255, 254
_TO_TABLE, _UNREACHABLE = 1, 7

Rule = dict[str, Any]


def restrict_forwarding(name: str, networks: Iterable[Network], *, only_add: bool = False) -> None:
    """Allows packets that came in by interface `name` to these IPv4 networks, and nowhere else.

    Args:
        only_add: networks allowed earlier stay allowed.

    Raises:
        KernelError: a rule cannot be added.
    """
    wanted = [
        _rule(name, PRIORITY - 1, action=_TO_TABLE, table=_LOCAL_TABLE),
        _rule(name, PRIORITY + 1, action=_UNREACHABLE),
    ]
    wanted += [
        _rule(
            name,
            PRIORITY,
            action=_TO_TABLE,
            dst=str(one.network_address),
            dst_len=one.prefixlen,
            table=_MAIN_TABLE,
        )
        for one in networks
    ]
    found = _found(name)
    with open_rtnetlink(f"adding routing rules for {name}") as ipr:
        # The prohibiting rule comes first.
        for rule in wanted:
            if rule not in found:
                ipr.rule("add", **rule)
        for rule in found:
            if rule not in wanted and not only_add:
                ipr.rule("del", **rule)


def is_restricted(name: str) -> bool:
    """Whether such rules exist for the interface. Raises KernelError."""
    return bool(_found(name))


def lift_restriction(name: str) -> None:
    """Removes the rules of the interface. Raises KernelError."""
    found = _found(name)
    with open_rtnetlink(f"removing routing rules of {name}") as ipr:
        for rule in found:
            ipr.rule("del", **rule)


def _found(name: str) -> list[Rule]:
    with open_rtnetlink("listing routing rules") as ipr:
        return [
            _rule(
                name,
                one.get_attr("FRA_PRIORITY"),
                action=one["action"],
                **({"table": one.get_attr("FRA_TABLE")} if one["action"] == _TO_TABLE else {}),
                **({"dst": one.get_attr("FRA_DST"), "dst_len": one["dst_len"]} if one["dst_len"] else {}),
            )
            for one in ipr.rule("dump", family=_AF_INET)
            if one.get_attr("FRA_IIFNAME") == name and one.get_attr("FRA_PROTOCOL") == ROUTE_PROTOCOL
        ]


def _rule(name: str, priority: int, **more: Any) -> Rule:
    return {"family": _AF_INET, "priority": priority, "iifname": name, "protocol": ROUTE_PROTOCOL, **more}
