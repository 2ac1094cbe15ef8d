"""Findings on this node as a member: its identity, its clock compared with others', and its observed endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from statistics import median

from wgmesh_agent.diagnosis.certificate import certificate_findings
from wgmesh_agent.diagnosis.finding import Code, Finding, ago, span
from wgmesh_agent.diagnosis.link import FLAPPING_AT, duplicate_identity
from wgmesh_agent.mesh.membership.policy import STALE_ROSTER_SECONDS
from wgmesh_api.agent_pb2 import LinkFacts, OwnFacts

CLOCK_MSEC = 10_000
"""Join tokens are valid for ten seconds."""
DUPLICATE_IDENTITY_REASONS = ("name_conflict", "own_name", "own_key", "own_address")


def own_findings(
    own: OwnFacts, links: Sequence[LinkFacts], endpoint: str, addresses: Set[str], interface: str
) -> Iterator[Finding]:
    """Args:
    endpoint: this node's advertised endpoint.
    addresses: of this machine's interfaces.
    """
    if own.interfaceTrouble:
        yield Finding(
            Code.INTERFACE_GONE,
            interface,
            f"The agent cannot read its WireGuard interface {interface}.",
            own.interfaceTrouble,
            "The agent recreates it within a second; otherwise see its log.",
        )
    elif own.interfacePubkey != own.pubkey:
        yield Finding(
            Code.KEY_MISMATCH,
            interface,
            f"The key of {interface} is not this node's.",
            f"it has {own.interfacePubkey or 'none'}, but this node's key is {own.pubkey}",
            "The agent restores it within a second. If it recurs, find the program that changes the interface.",
        )
    if own.undone:
        yield Finding(
            Code.INTERFACE_UNDONE,
            interface,
            f"Another program undoes the agent's repairs of {interface} repeatedly.",
            f"last repaired change: {own.undone}",
            "Find that program (usually a network manager), and configure it to ignore the interface: the "
            "package's folder `unmanaged` has files for systemd-networkd and NetworkManager.",
        )
    for component in own.down:
        yield Finding(
            Code.COMPONENT_DOWN,
            component.name,
            f"The component `{component.name}` of the agent has failed and is not running.",
            f"it terminated with {component.why}",
            "The agent restarts it within 30 s. If it keeps failing, see the agent's log.",
        )
    yield from _roster(own)
    yield from _duplicate_identity(own)
    yield from _clocks(links)
    yield from _nat_without_keepalive(own, links, endpoint, addresses)
    if own.tls:
        yield from certificate_findings(
            "",
            f"the certificate that the agent uses ({own.certificateSubject})",
            own.certificateNotBefore,
            own.certificateNotAfter,
            own.clockMsec / 1000,
        )


def _roster(own: OwnFacts) -> Iterator[Finding]:
    if not own.HasField("rosterMsecAgo"):
        return
    if 0 <= own.rosterMsecAgo <= STALE_ROSTER_SECONDS * 1000:
        return
    yield Finding(
        Code.ROSTER_OLD,
        "",
        "This node receives no changes of the roster: it cannot follow the cluster's list of members.",
        f"the API server confirmed it {ago(own.rosterMsecAgo)}; while watches work, that is at most a minute ago",
        "Find out why the API server cannot be watched from here: see the agent's log (`watch interrupted`), "
        "its network policies and its service account.",
    )


def _duplicate_identity(own: OwnFacts) -> Iterator[Finding]:
    if own.addressChanges >= FLAPPING_AT:
        yield duplicate_identity(
            "",
            f"its advertised or source endpoint alternated {own.addressChanges} times in ten minutes",
        )
        return
    for refused in own.refused:
        if refused.reason in DUPLICATE_IDENTITY_REASONS:
            yield duplicate_identity("", f"rejected {ago(refused.secondsAgo * 1000)}: {refused.message}")
            return


def _clocks(links: Sequence[LinkFacts]) -> Iterator[Finding]:
    ahead = {link.nodeName: link.clockAheadMsec for link in links if link.HasField("view")}
    doubt = {link.nodeName: link.clockDoubtMsec for link in links if link.HasField("view")}
    off = {name: by for name, by in ahead.items() if abs(by) - doubt[name] > CLOCK_MSEC}
    usual = median(ahead.values()) if ahead else 0
    if len(ahead) > 2 and abs(usual) > CLOCK_MSEC:
        yield _clock("", -usual, f"the clocks of {len(off)} of {len(ahead)} queried members differ")
        return
    for name, by in sorted(off.items()):
        yield _clock(
            name,
            by,
            f"its time was queried and compared; {len(ahead)} members answered",
        )


def _clock(name: str, ahead_msec: float, seen: str) -> Finding:
    way = "ahead of" if ahead_msec > 0 else "behind"
    whose = f"The clock of {name} is" if name else "The clock of this machine is"
    whom = "this machine's" if name else "the others'"
    return Finding(
        Code.CLOCK,
        name,
        f"{whose} {span(abs(ahead_msec) / 1000)} {way} {whom}.",
        seen,
        "Correct the clock, and synchronise it by NTP (`timedatectl`): a machine off by more than 10 s cannot "
        "join, and considers certificates expired or not yet valid.",
    )


def _nat_without_keepalive(
    own: OwnFacts, links: Sequence[LinkFacts], endpoint: str, addresses: Set[str]
) -> Iterator[Finding]:
    seen = {
        link.nodeName: link.view.endpoint
        for link in links
        if link.HasField("view") and link.view.endpoint and link.view.handshakeMsecAgo >= 0
        if not link.keepaliveSeconds
    }
    known = {_spelt(address, own.listenPort) for address in addresses}
    others = {name: at for name, at in seen.items() if at not in known}
    if others:
        name, at = min(others.items())
        yield Finding(
            Code.NAT,
            "",
            "This node is behind NAT without a keepalive: peers it has not sent to recently cannot reach it.",
            f"{len(others)} of the queried members observe it at no address of this machine, {name} at {at}; it "
            f"advertises {endpoint or 'no endpoint'}; no keepalive is set",
            "The agent sets keepalives automatically unless they are disabled: set `spec.wireguard.keepalive` "
            "to 25 in Kubernetes, and find the program that changes the interface.",
        )


def _spelt(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
