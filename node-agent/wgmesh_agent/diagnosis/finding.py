"""A finding: one problem, in words."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Code(enum.StrEnum):
    """Kind of problem; stable, for programs."""

    AGENT_DOWN = "agent_down"
    AGENT_SILENT = "agent_silent"
    COMPONENT_DOWN = "component_down"
    NO_WIREGUARD = "no_wireguard"
    PORT_TAKEN = "port_taken"
    INTERFACE_GONE = "interface_gone"
    INTERFACE_DOWN = "interface_down"
    INTERFACE_CHANGED = "interface_changed"
    INTERFACE_UNDONE = "interface_undone"
    ROUTE_TAKEN = "route_taken"
    FORWARD_DROPPED = "forward_dropped"
    RP_FILTER = "rp_filter"
    ADDRESS_OVERLAP = "address_overlap"
    CERTIFICATE = "certificate"
    CLOCK = "clock"
    NAT = "nat"
    TWO_AGENTS = "two_agents"
    ROSTER_OLD = "roster_old"
    NOT_ADMITTED = "not_admitted"
    KEY_MISMATCH = "key_mismatch"
    NOT_A_PEER = "not_a_peer"
    NO_ROUTE = "no_route"
    PORT_CLOSED = "port_closed"
    FILTERED = "filtered"
    FILTERED_INSIDE = "filtered_inside"
    GOSSIP_BLOCKED = "gossip_blocked"
    MTU = "mtu"
    NO_PRESHARED_KEY = "no_preshared_key"
    PEER_DOWN = "peer_down"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem.

    Attributes:
        about: the member, file or interface concerned; empty: this node.
        what: the problem, one sentence.
        seen: the evidence.
        todo: the fix.
    """

    code: Code
    about: str
    problem: str
    evidence: str
    remedy: str


def span(seconds: float) -> str:
    """A duration as text: `40 s`, `3 min`, `2 h`, `5 days`."""
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if round(seconds) < limit:
            return f"{max(0, round(seconds) // size)} {unit}"
    return f"{round(seconds) // 86400} days"


def ago(msec: int) -> str:
    """Age of a moment that many milliseconds ago, -1 for never."""
    return "never" if msec < 0 else f"{span(msec / 1000)} ago"
