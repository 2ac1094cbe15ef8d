"""What is wrong with a link: from what both ends and some others see of it to findings, the first cause only.

The order is that of the packets' way: who is it, is it programmed, is there a route, does anything come back, what gets
lost where. WireGuard counts packets of handshakes too, so its counters at both ends tell which direction is cut.
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
    why = _refusals(reasons) or "nothing that was refused in the last ten minutes names it"
    return Finding(
        Code.NOT_ADMITTED,
        name,
        f"{name} speaks in gossip and is no member here, so it has no tunnel.",
        f"gossip has it as {facts.status}; {why}",
        "If it is yours, let it enter anew: `wgmesh leave` on it, then join. If not, somebody has the gossip key: "
        "change it.",
    )


def _refusals(refused: list[Refused]) -> str:
    return "; ".join(f"refused {one.secondsAgo} s ago ({one.reason}): {one.message}" for one in refused[:3])


def _identity(facts: LinkFacts, own: OwnFacts, node: str, interface: str) -> Iterator[Finding]:
    """Who it is, and whether both ends mean the same."""
    name, view = facts.nodeName, facts.view
    if facts.addressChanges >= FLAPPING_AT:
        yield duplicate_identity(
            name,
            f"it told, or called from, another endpoint and the former one again {facts.addressChanges} times in ten "
            "minutes",
        )
    if facts.toldKey and facts.toldKey != facts.boundKey:
        yield _other_key(
            name, f"{name} tells the WireGuard key {facts.toldKey}, and {facts.boundKey} is bound"
        )
        return
    if facts.HasField("view") and view.interfacePubkey and view.interfacePubkey != facts.boundKey:
        yield _other_key(
            name, f"its interface has the key {view.interfacePubkey}, and {facts.boundKey} is bound"
        )
        return
    if not facts.programmed or not facts.allowed:
        lacks = "is no peer of" if not facts.programmed else "lacks its mesh address at"
        yield Finding(
            Code.NOT_A_PEER,
            name,
            f"WireGuard on this node has not what it needs for {name}.",
            f"{name} {lacks} {interface}, though it is a member",
            "The agent repairs it within a second. If it comes back, find out who else changes the interface: "
            f"`wg show {interface}`, and the agent's log.",
        )
        return
    if not facts.HasField("view") or view.peerKey == own.pubkey:
        return
    if view.peerKey:
        yield _other_key(node, f"{name} has the key {view.peerKey} for it, and its own is {own.pubkey}")
    else:
        yield Finding(
            Code.NOT_A_PEER,
            name,
            f"{name} does not have this node as a WireGuard peer.",
            f"{name} says so when asked",
            f"Look at the log of its agent for refused claims of {node}; `wgmesh leave` here and join anew if it "
            "holds on to an earlier life of this node.",
        )


def _other_key(name: str, seen: str) -> Finding:
    return Finding(
        Code.KEY_MISMATCH,
        name,
        f"{name} has another WireGuard key than the one others hold it to.",
        seen,
        f"If {name} was set up anew: `wgmesh leave {name}` on a bootstrap node while it is off, then let it join "
        "again. If somebody changed the key of its interface: its agent puts it back within a second.",
    )


def duplicate_identity(name: str, seen: str) -> Finding:
    """Two agents are one member."""
    return Finding(
        Code.TWO_AGENTS,
        name,
        f"Two agents seem to run as {name or 'this node'}.",
        seen,
        "A state folder or certificate was copied: stop one of them, remove its state folder, and let it join under "
        "a name of its own.",
    )


def _cause(facts: LinkFacts, own: OwnFacts, node: str, interface: str) -> Finding:
    """Why the link is not up."""
    name = facts.nodeName
    if facts.routeTrouble:
        return Finding(
            Code.NO_ROUTE,
            name,
            f"This node has no route to {name}.",
            f"its endpoint is {facts.endpoint}, and {facts.routeTrouble}",
            "Mend the routes of this machine (`ip route get` the address); or have it tell an address that can be "
            f"reached: `-listen-addr` on {name}.",
        )
    if not facts.endpoint:
        return Finding(
            Code.NO_ROUTE,
            name,
            f"Nobody knows where {name} is reached.",
            "WireGuard has no endpoint for it: it told none, and it never called here",
            f"Set -listen-addr on {name}, or -stun-server if it is behind an address translator.",
        )
    if facts.portAnswer:
        return Finding(
            Code.PORT_CLOSED,
            name,
            f"The WireGuard port of {name} is closed.",
            f"a packet to {facts.endpoint} over UDP was answered with: {facts.portAnswer}",
            f"See that its interface is up (`wg show` on {name}) and that no firewall rejects UDP there; if it moved, "
            "its agent must run to say where it is.",
        )
    if facts.HasField("view") and facts.watched:
        return _lost_where(facts, own, node, interface)
    return _no_answer(facts)


def _lost_where(facts: LinkFacts, own: OwnFacts, node: str, interface: str) -> Finding:
    """Both ends were asked: which packets arrive?"""
    name, view = facts.nodeName, facts.view
    reach, arrive = facts.viewRxGrowth > 0, facts.rxGrowth > 0
    if reach and arrive:
        deaf = name if facts.heard or not facts.probed else node
        return Finding(
            Code.FILTERED_INSIDE,
            name,
            f"Packets between this node and {name} pass, and are dropped when they come out of the tunnel at {deaf}.",
            f"WireGuard at both ends counts packets of the other; probes on UDP port {own.probePort} do not get "
            f"through (heard {ago(facts.heardMsecAgo)} here, {ago(view.heardMsecAgo)} there)",
            f"Let {deaf} accept UDP port {own.probePort} and TCP and UDP port {own.gossipPort} on {interface}.",
        )
    lost = {
        (False, False): f"neither from this node to {name} nor back",
        (False, True): f"from this node to {name}",
        (True, False): f"from {name} to this node",
    }[reach, arrive]
    who, port = (name, facts.endpoint) if not reach else (node, f"port {own.listenPort}")
    return Finding(
        Code.FILTERED,
        name,
        f"WireGuard's packets do not pass {lost}.",
        f"in some seconds {facts.txGrowth} bytes were sent to {facts.endpoint}, of which {name} took in "
        f"{facts.viewRxGrowth}; {name} sent {facts.viewTxGrowth} to {view.endpoint or 'nowhere'}, of which "
        f"{facts.rxGrowth} came; {name} said so by way of other members",
        f"Let firewalls on the way, and on {who}, pass UDP to {port}.{_elsewhere(facts)}",
    )


def _no_answer(facts: LinkFacts) -> Finding:
    """It did not answer, not even by way of others."""
    name = facts.nodeName
    hearing = [other.nodeName for other in facts.others if other.heard or _is_fresh(other.handshakeMsecAgo)]
    last = f"the last handshake was {ago(facts.handshakeMsecAgo)}, it was heard {ago(facts.heardMsecAgo)}"
    hear = [other.nodeName for other in facts.others if other.heard]
    if facts.others and not hear and facts.status != "alive":
        return Finding(
            Code.PEER_DOWN,
            name,
            f"{name} is off, or cut off from everybody.",
            f"gossip has it as {facts.status or 'unknown'}; {_names(facts)} do not hear it either; {last}",
            f"See that the machine and its agent run. If it is gone for good: `wgmesh leave {name}`.",
        )
    told = f"; {', '.join(hearing)} can reach it" if hearing else ""
    return Finding(
        Code.FILTERED,
        name,
        f"Nothing comes back from {name}.",
        f"in some seconds {facts.txGrowth} bytes were sent to {facts.endpoint} and {facts.rxGrowth} came; {last}; "
        f"whether ours arrive it does not say{told}",
        f"See that {name} is on and its agent runs; let firewalls on the way pass UDP to {facts.endpoint}."
        f"{_elsewhere(facts)}",
    )


def _names(facts: LinkFacts) -> str:
    return " and ".join(other.nodeName for other in facts.others)


def _elsewhere(facts: LinkFacts) -> str:
    """What others know of where it is."""
    seen = sorted({other.endpoint for other in facts.others if other.endpoint} - {facts.endpoint})
    return f" Others reach {facts.nodeName} at {', '.join(seen)}." if seen else ""


def _without_secret(facts: LinkFacts, own: OwnFacts, node: str) -> Finding:
    name = facts.nodeName
    lacks = node if not own.secretCount else name
    return Finding(
        Code.NO_PRESHARED_KEY,
        name,
        f"Traffic with {name} goes without a pre-shared key: the two have no secret in common.",
        f"this node holds {own.secretCount}, and {name} says that it holds {facts.toldSecretCount}",
        f"Give {lacks} the mesh's secrets: -psk-file, or its bundle fetched anew. A peer that knows nothing of them "
        "goes without.",
    )


def _partly_up(facts: LinkFacts, own: OwnFacts, node: str, interface: str) -> Iterator[Finding]:
    """Probes pass: does all else?"""
    name = facts.nodeName
    if facts.smallPasses and not facts.largePasses:
        yield Finding(
            Code.MTU,
            name,
            f"Large packets do not pass to {name}: connections hang as soon as they carry much.",
            f"a packet of {facts.largeBytes} bytes inside the tunnel was lost four times, a small one came back",
            f"Something on the way takes less: let it pass larger packets, or lower the MTU of {interface} "
            "(`spec.wireguard.mtu`).",
        )
    if (own.secretCount or facts.toldSecretCount) and not facts.secretInCommon and not facts.presharedKey:
        yield _without_secret(facts, own, node)
    if facts.gossipTried and facts.gossipTrouble:
        seen = f"a connection to TCP port {own.gossipPort} of its mesh address was not made: {facts.gossipTrouble}"
    elif facts.status == "failed":
        seen = f"gossip has it as failed, while its probes come in ({ago(facts.heardMsecAgo)})"
    else:
        return
    yield Finding(
        Code.GOSSIP_BLOCKED,
        name,
        f"Gossip with {name} is blocked inside the tunnel.",
        seen,
        f"Let {name} and {node} accept TCP and UDP port {own.gossipPort} on {interface}.",
    )
