"""This node as a member: identity, clock, NAT, its certificate."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.diagnosis.fixtures import DAY, NOW, OTHER, codes, findings, link, own, view

from wgmesh_agent.diagnosis.finding import Code
from wgmesh_api.agent_pb2 import ComponentDown, LinkFacts, OwnFacts, Refused


def ahead(*seconds: float, doubt: float = 0.1) -> list[LinkFacts]:
    """Members whose clocks are so far ahead."""
    return [
        link(nodeName=f"m{place}", clockAheadMsec=round(by * 1000), clockDoubtMsec=round(doubt * 1000))
        for place, by in enumerate(seconds)
    ]


@pytest.mark.parametrize(
    ("links", "said"),
    [
        (ahead(0, 0, 0), []),
        (ahead(9, -9), []),
        (ahead(11, doubt=2.0), []),
        (ahead(60), ["The clock of m0 is 60 s ahead of this machine's."]),
        (ahead(0, -7200, 0), ["The clock of m1 is 2 h behind this machine's."]),
        (ahead(3600, 3601, 3599), ["The clock of this machine is 60 min behind the others'."]),
    ],
)
def test_clocks_are_compared(links: list[LinkFacts], said: list[str]) -> None:
    assert [one.problem for one in findings(*links)] == said


@pytest.mark.parametrize(
    ("endpoint", "keepalive", "handshake", "is_translated"),
    [
        ("192.0.2.1:54540", 0, 5, False),
        ("[2001:db8::1]:54540", 0, 5, True),
        ("198.51.100.7:61000", 0, 5, True),
        ("192.0.2.1:61000", 0, 5, True),
        ("198.51.100.7:61000", 25, 5, False),
        ("10.232.1.1:54540", 0, 5, False),
        ("198.51.100.7:61000", 0, -1, False),
        ("", 0, 5, False),
    ],
)
def test_an_address_translator_is_seen_by_where_others_see_this_node(
    endpoint: str, keepalive: int, handshake: int, is_translated: bool
) -> None:
    seen = link(view=view(endpoint=endpoint, handshakeMsecAgo=handshake), keepaliveSeconds=keepalive)
    assert codes(findings(seen)) == ([("nat", "")] if is_translated else [])


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (own(interfacePubkey=OTHER), Code.KEY_MISMATCH),
        (own(interfacePubkey=""), Code.KEY_MISMATCH),
        (own(interfaceTrouble="the interface is gone", interfacePubkey=""), Code.INTERFACE_GONE),
        (own(addressChanges=3), Code.TWO_AGENTS),
        (own(down=[ComponentDown(name="probe", why="OSError(24)")]), Code.COMPONENT_DOWN),
        (own(rosterMsecAgo=301_000), Code.ROSTER_OLD),
        (own(rosterMsecAgo=-1), Code.ROSTER_OLD),
        (own(certificateNotAfter=NOW), Code.CERTIFICATE),
        (own(certificateNotBefore=NOW + 60), Code.CERTIFICATE),
        (own(certificateNotBefore=NOW - 9 * DAY, certificateNotAfter=NOW + DAY), Code.CERTIFICATE),
    ],
)
def test_what_is_wrong_with_this_node_is_found(facts: OwnFacts, code: Code) -> None:
    assert [one.code for one in findings(facts=facts)] == [code]


@pytest.mark.parametrize("age", [0, 61_000, 299_000])
def test_a_roster_that_was_confirmed_lately_is_none(age: int) -> None:
    assert findings(facts=own(rosterMsecAgo=age)) == []


@pytest.mark.parametrize("reason", ["name_conflict", "own_name", "own_key", "own_address"])
def test_whoever_claims_to_be_this_node_is_told_of(reason: str) -> None:
    refused = Refused(reason=reason, message="10.232.9.9 claims to be n1", secondsAgo=70)
    (finding,) = findings(facts=own(refused=[refused]))
    assert finding.code is Code.TWO_AGENTS
    assert "rejected 70 s ago: 10.232.9.9 claims to be n1" in finding.evidence


def test_other_refusals_do_not_mean_two_agents() -> None:
    assert findings(facts=own(refused=[Refused(reason="address_bound", message="x claims y")])) == []


@pytest.mark.parametrize("changed", [{"certificateNotAfter": NOW - 1}, {"tls": False}])
def test_a_mesh_without_tls_has_no_certificate_to_end(changed: dict[str, Any]) -> None:
    facts = own(**{"certificateNotAfter": 0, "certificateNotBefore": 0, **changed})
    assert len(findings(facts=facts)) == (1 if facts.tls else 0)
