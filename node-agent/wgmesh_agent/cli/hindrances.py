"""Routing and firewall settings of this machine that conflict with the mesh. Queries the kernel and `nft`; blocks."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from wgmesh_agent.diagnosis.machine import Hindrances, Way
from wgmesh_agent.linux.rtnetlink import Rtnetlink, open_rtnetlink
from wgmesh_agent.wireguard.model import ROUTE_PROTOCOL

NFT_SECONDS = 10.0
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_RP_FILTER = "/proc/sys/net/ipv4/conf/{}/rp_filter"
_STRICT = "1"
_LOOKUP_TABLE = 0x1000
"""RTM_F_LOOKUP_TABLE: requests the table in the response (linux/rtnetlink.h)."""
_TABLES = {253: "default", 254: "main", 255: "local"}
_SELECTORS = (("FRA_FWMARK", "fwmark"), ("FRA_IIFNAME", "iif"), ("FRA_UID_RANGE", "uidrange"))


def hindrances(interface: str, peers: Sequence[str], *, forwards: bool) -> Hindrances:
    """Args:
        peers: mesh addresses of members.
        forwards: whether this node forwards for the mesh, as a gateway or relay.

    Raises:
        KernelError: the kernel cannot be queried.
    """
    with open_rtnetlink("looking up the routes to members") as ipr:
        ways = tuple(way for peer in peers if (way := _way(ipr, peer, interface)) is not None)
    return Hindrances(ways, tuple(_forward_drops(interface)) if forwards else (), _is_strict(interface))


def _way(ipr: Rtnetlink, peer: str, interface: str) -> Way | None:
    """The route of packets to a member, if it does not lead by the mesh's interface."""
    family = _FAMILIES[ip_address(peer).version]
    try:
        (answer,) = ipr.route("get", family=family, dst=peer, flags=_LOOKUP_TABLE)
    except NetlinkError as error:
        return Way(peer, "", "", str(error.args[1] if len(error.args) > 1 else error))
    index = answer.get_attr("RTA_OIF")
    name = socket.if_indextoname(index) if index else ""
    if name == interface:
        return None
    table = answer.get_attr("RTA_TABLE") or answer["table"]
    rules = [
        one
        for one in ipr.rule("dump", family=family)
        if one.get_attr("FRA_TABLE") == table and one.get_attr("FRA_PROTOCOL") != ROUTE_PROTOCOL
    ]
    return Way(peer, name, _TABLES.get(table, str(table)), _rule(rules[0]) if rules else "")


def _rule(message: Any) -> str:
    """As `ip rule` prints it, abbreviated."""
    words = [f"{message.get_attr('FRA_PRIORITY') or 0}:"]
    for length, attribute, word in (("src_len", "FRA_SRC", "from"), ("dst_len", "FRA_DST", "to")):
        if message[length]:
            words.append(f"{word} {message.get_attr(attribute)}/{message[length]}")
    words += [f"{word} {message.get_attr(key)}" for key, word in _SELECTORS if message.get_attr(key)]
    table = message.get_attr("FRA_TABLE")
    return " ".join([*words, f"lookup {_TABLES.get(table, table)}"])


def _is_strict(interface: str) -> bool:
    """Whether packets are dropped whose reply would leave by another interface (`rp_filter`, ip-sysctl)."""
    values = []
    for name in ("all", interface):
        try:
            values.append(Path(_RP_FILTER.format(name)).read_text().strip())
        except OSError:
            return False
    return max(values) == _STRICT


def _forward_drops(interface: str) -> Iterator[str]:
    """The chains that drop forwarded packets, and have no rule that names the interface."""
    for family, table, chain in _dropping_chains():
        if f'"{interface}"' not in _run("nft", "list", "table", family, table):
            yield f"the chain {chain} of nftables table {family} {table} has the policy drop"
    said = _run("iptables-legacy", "-S")
    if "-P FORWARD DROP" in said and f" {interface} " not in said:
        yield "the chain FORWARD of iptables-legacy has the policy DROP"


def _dropping_chains() -> list[tuple[str, str, str]]:
    try:
        document = json.loads(_run("nft", "-j", "list", "chains") or "{}")
        chains = [one["chain"] for one in document.get("nftables", []) if "chain" in one]
        return [
            (one["family"], one["table"], one["name"])
            for one in chains
            if one.get("hook") == "forward" and one.get("policy") == "drop"
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _run(*command: str) -> str:
    """Output of a program; empty if it is missing, or fails."""
    program = shutil.which(command[0])
    if program is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603
            [program, *command[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=NFT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
