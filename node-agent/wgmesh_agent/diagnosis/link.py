"""Findings on a link: from the views of both ends and of some other members, the first cause only.

The order follows a packet: identity, configuration, route, replies, and the direction in which packets are lost.
WireGuard counts packets of handshakes too, so its counters at both ends show which direction is blocked.
"""

from __future__ import annotations

from collections.abc import Iterator

from wgmesh_agent.diagnosis.certificate import certificate_findings
from wgmesh_agent.diagnosis.finding import Code, Finding, ago
from wgmesh_api.agent_pb2 import LinkFacts, OwnFacts, Refused

FRESH_MSEC = 180_000
FLAPPING_AT = 3


def link_findings(facts: LinkFacts, own: OwnFacts, node: str, interface: str) -> list[Finding]:
    """Args:
    node, interface: this node's name and its mesh's interface.
    """
    name = facts.nodeName
    if not facts.boundKey:
        return [_not_admitted(facts, own)]
    found = [*_identity(facts, own, node, interface)]
    if not found and not _is_up(facts):
        found.append(_cause(facts, own, node, interface))
    elif not found:
        found += _partly_up(facts, own, node, interface)
    if facts.HasField("view") and facts.view.certificateNotAfter:
        found += certificate_findings(
            name, f"the certificate of {name}", 0, facts.view.certificateNotAfter, own.clockMsec / 1000
        )
    return found


def _is_up(facts: LinkFacts) -> bool:
    if facts.probed:
        return facts.heard and _hears_us(facts)
    return _is_fresh(facts.handshakeMsecAgo)


def _hears_us(facts: LinkFacts) -> bool:
    return facts.hearsUs or (facts.HasField("view") and facts.view.heard)


def _is_fresh(handshake_msec_ago: int) -> bool:
    return 0 <= handshake_msec_ago <= FRESH_MSEC


def _not_admitted(facts: LinkFacts, own: OwnFacts) -> Finding:
    name = facts.nodeName
    reasons = [one for one in own.refused if name in one.message]
    why = _refusals(reasons) or "no claim rejected in the last ten minutes names it"
    return Finding(
        Code.NOT_ADMITTED,
        name,
        f"{name} takes part in gossip and is not a member here, so it has no tunnel.",
        f"gossip reports it {facts.status}; {why}",
        "If it is yours, let it join again: `wgmesh leave` on it, then join. If not, it has obtained the "
        "gossip key: rotate it.",
    )


def _refusals(refused: list[Refused]) -> str:
    return "; ".join(f"rejected {one.secondsAgo} s ago ({one.reason}): {one.message}" for one in refused[:3])


def _identity(facts: LinkFacts, own: OwnFacts, node: str, interface: str) -> Iterator[Finding]:
    """Identity: whether both ends are bound to the same keys."""
    name, view = facts.nodeName, facts.view
    if facts.addressChanges >= FLAPPING_AT:
        yield duplicate_identity(
            name,
            f"its advertised or source endpoint alternated {facts.addressChanges} times in ten minutes",
        )
    if facts.toldKey and facts.toldKey != facts.boundKey:
        yield _other_key(
            name, f"{name} advertises the WireGuard key {facts.toldKey}, but {facts.boundKey} is bound"
        )
        return
    if facts.HasField("view") and view.interfacePubkey and view.interfacePubkey != facts.boundKey:
        yield _other_key(
            name, f"its interface has the key {view.interfacePubkey}, but {facts.boundKey} is bound"
        )
        return
    if not facts.programmed or not facts.allowed:
        lacks = "is not a peer of" if not facts.programmed else "lacks its mesh address at"
        yield Finding(
            Code.NOT_A_PEER,
            name,
            f"{name} is not configured correctly as a WireGuard peer on this node.",
            f"{name} {lacks} {interface}, although it is a member",
            "The agent repairs it within a second. If it recurs, find the program that changes the interface: "
            f"`wg show {interface}`, and the agent's log.",
        )
        return
    if not facts.HasField("view") or view.peerKey == own.pubkey:
        return
    if view.peerKey:
        yield _other_key(node, f"{name} has the key {view.peerKey} for this node, whose own is {own.pubkey}")
    else:
        yield Finding(
            Code.NOT_A_PEER,
            name,
            f"{name} does not have this node as a WireGuard peer.",
            "its answer to the peer query states so",
            f"Check the log of its agent for rejected claims of {node}; if it keeps an earlier binding of this "
            "node, run `wgmesh leave` here and join again.",
        )


def _other_key(name: str, seen: str) -> Finding:
    return Finding(
        Code.KEY_MISMATCH,
        name,
        f"{name} uses a WireGuard key other than the one it is bound to.",
        seen,
        f"If {name} was reinstalled: run `wgmesh leave {name}` on a bootstrap node while it is down, then let "
        "it join again. If another program changed the key of its interface: its agent restores it within a "
        "second.",
    )


def duplicate_identity(name: str, seen: str) -> Finding:
    """Two agents with one identity."""
    return Finding(
        Code.TWO_AGENTS,
        name,
        f"Two agents appear to use the identity of {name or 'this node'}.",
        seen,
        "A state directory or certificate was copied: stop one of the agents, remove its state directory, and "
        "let it join under its own name.",
    )


def _cause(facts: LinkFacts, own: OwnFacts, node: str, interface: str) -> Finding:
    """Why the link is down."""
    name = facts.nodeName
    if facts.routeTrouble:
        return Finding(
            Code.NO_ROUTE,
            name,
            f"This node has no route to {name}.",
            f"its endpoint is {facts.endpoint}, and {facts.routeTrouble}",
            f"Fix the routes of this machine (`ip route get` the address), or let {name} advertise a reachable "
            "address with `-listen-addr`.",
        )
    if not facts.endpoint:
        return Finding(
            Code.NO_ROUTE,
            name,
            f"No endpoint is known for {name}.",
            "WireGuard has no endpoint for it: it advertises none, and has never sent a packet to this node",
            f"Set -listen-addr on {name}, or -stun-server if it is behind NAT.",
        )
    if facts.portAnswer:
        return Finding(
            Code.PORT_CLOSED,
            name,
            f"The WireGuard port of {name} is closed.",
            f"a UDP packet to {facts.endpoint} caused the error: {facts.portAnswer}",
            f"Check that its interface is up (`wg show` on {name}) and that no firewall rejects UDP there; if "
            "it has moved, its agent must run to advertise its endpoint.",
        )
    if facts.HasField("view") and facts.watched:
        return _lost_where(facts, own, node, interface)
    return _no_answer(facts)


def _lost_where(facts: LinkFacts, own: OwnFacts, node: str, interface: str) -> Finding:
    """Both ends answered: which packets arrive?"""
    name, view = facts.nodeName, facts.view
    reach, arrive = facts.viewRxGrowth > 0, facts.rxGrowth > 0
    if reach and arrive:
        deaf = name if facts.heard or not facts.probed else node
        return Finding(
            Code.FILTERED_INSIDE,
            name,
            f"Packets between this node and {name} arrive, and are dropped behind the tunnel at {deaf}.",
            f"WireGuard at both ends counts packets of the other; probes on UDP port {own.probePort} do not "
            f"arrive (last one {ago(facts.heardMsecAgo)} here, {ago(view.heardMsecAgo)} there)",
            f"Let {deaf} accept UDP port {own.probePort} and TCP and UDP port {own.gossipPort} on {interface}.",
        )
    lost = {
        (False, False): f"in both directions between this node and {name}",
        (False, True): f"from this node to {name}",
        (True, False): f"from {name} to this node",
    }[reach, arrive]
    who, port = (name, facts.endpoint) if not reach else (node, f"port {own.listenPort}")
    return Finding(
        Code.FILTERED,
        name,
        f"WireGuard packets are lost {lost}.",
        f"in some seconds this node sent {facts.txGrowth} bytes to {facts.endpoint}, of which {name} received "
        f"{facts.viewRxGrowth}; {name} sent {facts.viewTxGrowth} to {view.endpoint or 'nowhere'}, of which "
        f"{facts.rxGrowth} arrived; {name} reported so via other members",
        f"Let firewalls on the path, and on {who}, pass UDP to {port}.{_elsewhere(facts)}",
    )


def _no_answer(facts: LinkFacts) -> Finding:
    """It did not answer, not even via other members."""
    name = facts.nodeName
    hearing = [other.nodeName for other in facts.others if other.heard or _is_fresh(other.handshakeMsecAgo)]
    last = f"the last handshake was {ago(facts.handshakeMsecAgo)}, the last probe {ago(facts.heardMsecAgo)}"
    hear = [other.nodeName for other in facts.others if other.heard]
    if facts.others and not hear and facts.status != "alive":
        return Finding(
            Code.PEER_DOWN,
            name,
            f"{name} is down or isolated.",
            f"gossip reports it {facts.status or 'unknown'}; {_names(facts)} cannot reach it either; {last}",
            f"Check that the machine and its agent run. If it will not return: `wgmesh leave {name}`.",
        )
    told = f"; {', '.join(hearing)} can reach it" if hearing else ""
    return Finding(
        Code.FILTERED,
        name,
        f"{name} does not respond.",
        f"in some seconds {facts.txGrowth} bytes were sent to {facts.endpoint} and {facts.rxGrowth} arrived; "
        f"{last}; whether ours arrive is unknown{told}",
        f"Check that {name} and its agent run; let firewalls on the path pass UDP to "
        f"{facts.endpoint}.{_elsewhere(facts)}",
    )


def _names(facts: LinkFacts) -> str:
    return " and ".join(other.nodeName for other in facts.others)


def _elsewhere(facts: LinkFacts) -> str:
    """Its endpoints as observed by other members."""
    seen = sorted({other.endpoint for other in facts.others if other.endpoint} - {facts.endpoint})
    return f" Other members reach {facts.nodeName} at {', '.join(seen)}." if seen else ""


def _without_secret(facts: LinkFacts, own: OwnFacts, node: str) -> Finding:
    name = facts.nodeName
    lacks = node if not own.secretCount else name
    return Finding(
        Code.NO_PRESHARED_KEY,
        name,
        f"Traffic with {name} does not use a pre-shared key: the two nodes have no secret in common.",
        f"this node holds {own.secretCount}, and {name} advertises {facts.toldSecretCount}",
        f"Give {lacks} the mesh's secrets: -psk-file, or its bundle fetched again. A peer without support for "
        "them does not use a key.",
    )


def _partly_up(facts: LinkFacts, own: OwnFacts, node: str, interface: str) -> Iterator[Finding]:
    """Probes pass: does everything else?"""
    name = facts.nodeName
    if facts.smallPasses and not facts.largePasses:
        yield Finding(
            Code.MTU,
            name,
            f"Large packets to {name} are lost: connections stall under load.",
            f"a packet of {facts.largeBytes} bytes inside the tunnel was lost four times, a small one was answered",
            f"The path has a lower MTU: let it pass larger packets, or lower the MTU of {interface} "
            "(`spec.wireguard.mtu`).",
        )
    if (own.secretCount or facts.toldSecretCount) and not facts.secretInCommon and not facts.presharedKey:
        yield _without_secret(facts, own, node)
    if facts.gossipTried and facts.gossipTrouble:
        seen = f"a connection to TCP port {own.gossipPort} of its mesh address failed: {facts.gossipTrouble}"
    elif facts.status == "failed":
        seen = f"gossip reports it failed, but its probes arrive (last {ago(facts.heardMsecAgo)})"
    else:
        return
    yield Finding(
        Code.GOSSIP_BLOCKED,
        name,
        f"Gossip with {name} is blocked inside the tunnel.",
        seen,
        f"Let {name} and {node} accept TCP and UDP port {own.gossipPort} on {interface}.",
    )
