"""Everything a mesh may leave on a node, to compare before and after."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.kind.kubectl import items
from tests.kind.nodes import Node
from tests.kind.release import NAMESPACE

FOLDERS = ("/var/lib/wgmesh", "/run/wgmesh", "/var/run/wireguard")
# Pods come and go during the test; what belongs to them and to kube-proxy is not ours.
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


def only_of(mesh: str, found: dict[str, Any]) -> bool:
    """Whether a difference is nothing but this mesh's own things."""
    return all(
        not change["gone"] and all(mesh in str(one) for one in change["left"]) for change in found.values()
    )


_KINDS = "clusterrolebindings,wgmeshes,wgmeshnodes,certificatesigningrequests"
_KINDS_IN_NAMESPACE = (
    "secrets,serviceaccounts,daemonsets,controllerrevisions,pods,configmaps,roles,rolebindings"
)


def objects_of(mesh: str) -> list[str]:
    """All objects of a mesh in the cluster, by label, by owner or by name, without Events, which outlive it."""
    every = [*items(_KINDS), *items(_KINDS_IN_NAMESPACE, namespace=NAMESPACE)]
    return sorted(
        f"{one['kind']} {one['metadata']['name']}" for one in every if _is_of(mesh, one["metadata"])
    )


def _is_of(mesh: str, metadata: dict[str, Any]) -> bool:
    names: Iterable[str] = (
        metadata["name"],
        *(owner["name"] for owner in metadata.get("ownerReferences") or ()),
        *((metadata.get("labels") or {}).values()),
    )
    return any(name == mesh or name.startswith((f"{mesh}.", f"wgmesh-{mesh}")) for name in names)
