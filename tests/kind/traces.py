"""Everything a mesh may leave on a node, to compare before and after."""

from __future__ import annotations

from typing import Any

from tests.kind.nodes import Node

FOLDERS = ("/var/lib/wgmesh", "/run/wgmesh", "/var/run/wireguard")
# Pods come and go meanwhile; what is theirs and kube-proxy's is not ours.
_PODS = "veth"
_NOT_OURS = {"ip", "ip6"}


def traces(node: Node) -> dict[str, Any]:
    """Links, addresses, routes, rules, nftables and files of a node, without what pods and kube-proxy have there."""
    pods = {link["ifname"] for link in node.json("ip", "-j", "link") if link["ifname"].startswith(_PODS)}
    found: dict[str, Any] = {
        "links": sorted(
            (link["ifname"], link.get("mtu"))
            for link in node.json("ip", "-j", "link")
            if link["ifname"] not in pods
        ),
        "nftables": sorted(
            f"{table['family']} {table['name']}"
            for entry in node.json("nft", "-j", "list", "tables")["nftables"]
            if (table := entry.get("table")) and table["family"] not in _NOT_OURS
        ),
        "files": sorted(node.inside("find", *FOLDERS, "-mindepth", "1", check=False).stdout.split()),
    }
    for family in ("-4", "-6"):
        found[f"addresses {family}"] = sorted(
            (link["ifname"], address["local"], address["prefixlen"])
            for link in node.json("ip", "-j", family, "addr")
            if link and link["ifname"] not in pods
            for address in link["addr_info"]
        )
        found[f"routes {family}"] = sorted(
            f"{route.get('table', 'main')} {route.get('type', 'unicast')} {route['dst']} {route.get('dev')}"
            for route in node.json("ip", "-j", family, "route", "show", "table", "all")
            if route.get("dev") not in pods
        )
        found[f"rules {family}"] = sorted(
            str(sorted(rule.items())) for rule in node.json("ip", "-j", family, "rule")
        )
    return found


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What is in one and not in the other; empty if nothing."""
    return {
        what: {
            "gone": [one for one in before[what] if one not in after[what]],
            "left": [one for one in after[what] if one not in before[what]],
        }
        for what in before
        if before[what] != after[what]
    }
