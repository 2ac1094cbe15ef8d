"""Facts of a mesh in which all is well, to spoil one at a time. This node is n1, the other n2."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from wgmesh_agent.diagnosis.doctor import diagnose
from wgmesh_agent.diagnosis.finding import Finding
from wgmesh_agent.diagnosis.machine import InterfaceState, Machine
from wgmesh_api.agent_pb2 import ExamineResult, LinkFacts, LinkView, MeshInfo, OwnFacts

NOW = 1_800_000_000
DAY = 86400
MINE, THEIRS, OTHER = ("A" * 43 + "=", "B" * 42 + "A=", "C" * 42 + "A=")
RANGE = ip_network("10.232.0.0/16")

MACHINE = Machine(
    now=NOW,
    agent_trouble="",
    agent_runs=True,
    mesh="blue",
    interface="wgblue",
    state=InterfaceState(True, True, frozenset({"10.232.1.1"}), frozenset({RANGE})),
    addresses=("10.232.1.1",),
    ranges=(RANGE,),
    kernel_trouble="",
    userspace_trouble="wireguard-go is not installed",
    backend="auto",
    networks=(),
    own_addresses=frozenset({"192.0.2.1", "10.232.1.1"}),
    certificates=(),
    ports_taken=(),
)
INFO = MeshInfo(name="blue", nodeName="n1", interface="wgblue", endpoint="192.0.2.1:54540")


def own(**changed: Any) -> OwnFacts:
    facts: dict[str, Any] = {
        "pubkey": MINE,
        "interfacePubkey": MINE,
        "listenPort": 54540,
        "gossipPort": 7946,
        "probePort": 7947,
        "clockMsec": NOW * 1000,
        "tls": True,
        "certificateNotBefore": NOW - DAY,
        "certificateNotAfter": NOW + 2 * DAY,
        "certificateSubject": "CN=n1",
    }
    return OwnFacts(**{**facts, **changed})


def view(**changed: Any) -> LinkView:
    facts: dict[str, Any] = {
        "nodeName": "n2",
        "clockMsec": NOW * 1000,
        "interfacePubkey": THEIRS,
        "peerKey": MINE,
        "endpoint": "192.0.2.1:54540",
        "handshakeMsecAgo": 5000,
        "heard": True,
        "heardMsecAgo": 1000,
        "status": "alive",
        "certificateNotAfter": NOW + 2 * DAY,
    }
    return LinkView(**{**facts, **changed})


def link(**changed: Any) -> LinkFacts:
    facts: dict[str, Any] = {
        "nodeName": "n2",
        "status": "alive",
        "boundKey": THEIRS,
        "toldKey": THEIRS,
        "meshIPs": ["10.232.0.1"],
        "programmed": True,
        "allowed": True,
        "endpoint": "192.0.2.2:54540",
        "handshakeMsecAgo": 5000,
        "probed": True,
        "heard": True,
        "heardMsecAgo": 900,
        "hearsUs": True,
        "smallPasses": True,
        "largePasses": True,
        "largeBytes": 1420,
        "gossipTried": True,
        "view": view(),
    }
    return LinkFacts(**{**facts, **changed})


def silent(**changed: Any) -> LinkFacts:
    """A link that is down, both ends having counted."""
    facts: dict[str, Any] = {
        "heard": False,
        "heardMsecAgo": 30000,
        "hearsUs": False,
        "smallPasses": False,
        "largePasses": False,
        "gossipTrouble": "no answer within 2 s",
        "view": view(heard=False),
        "watched": True,
        "txGrowth": 296,
        "viewTxGrowth": 296,
    }
    return link(**{**facts, **changed})


def findings(*links: LinkFacts, facts: OwnFacts | None = None, **machine: Any) -> list[Finding]:
    """Of a machine with what is named changed, its agent answering."""
    result = ExamineResult(ok=True, own=facts or own(), links=links)
    return diagnose(replace(MACHINE, **machine), INFO, result)


def codes(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.code.value, one.about) for one in found]
