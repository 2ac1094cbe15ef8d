"""From what both ends of a link say to its first cause."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.unit.diagnosis.fixtures import DAY, NOW, OTHER, codes, findings, link, own, silent, view

from wgmesh_agent.diagnosis.finding import Code
from wgmesh_agent.mesh.membership.ledger import RejectionReason
from wgmesh_api.agent_pb2 import LinkFacts, Refused


def test_a_good_link_is_well() -> None:
    assert findings(link()) == []


@pytest.mark.parametrize(
    ("facts", "code", "words"),
    [
        (silent(routeTrouble="this host has no route to 192.0.2.2"), "no_route", "192.0.2.2:54540"),
        (silent(endpoint=""), "no_route", "No endpoint is known for n2."),
        (silent(portAnswer="Connection refused"), "port_closed", "Connection refused"),
        (silent(), "filtered", "in both directions between this node and n2"),
        (silent(rxGrowth=296), "filtered", "are lost from this node to n2."),
        (silent(viewRxGrowth=296), "filtered", "are lost from n2 to this node."),
        (silent(viewRxGrowth=9, rxGrowth=9), "filtered_inside", "behind the tunnel at n1"),
        (
            silent(viewRxGrowth=9, rxGrowth=9, heard=True),
            "filtered_inside",
            "behind the tunnel at n2",
        ),
        (silent(viewRxGrowth=9, rxGrowth=9, probed=False, handshakeMsecAgo=-1), "filtered_inside", "at n2"),
        (link(largePasses=False), "mtu", "1420 bytes"),
        (link(gossipTrouble="Connection refused"), "gossip_blocked", "TCP port 7946"),
        (
            link(status="failed"),
            "gossip_blocked",
            "gossip reports it failed, but its probes arrive (last 1 s ago)",
        ),
        (link(toldKey=OTHER), "key_mismatch", OTHER),
        (link(view=view(interfacePubkey=OTHER)), "key_mismatch", f"its interface has the key {OTHER}"),
        (link(programmed=False), "not_a_peer", "n2 is not a peer of wgblue"),
        (link(allowed=False), "not_a_peer", "lacks its mesh address"),
        (link(view=view(peerKey="")), "not_a_peer", "n2 does not have this node"),
        (link(toldSecretCount=1), "no_preshared_key", "n2 advertises 1"),
        (link(addressChanges=5), "two_agents", "5 times in ten minutes"),
        (link(view=view(certificateNotAfter=NOW - DAY)), "certificate", "The certificate of n2 has expired."),
    ],
)
def test_each_fault_has_its_finding(facts: LinkFacts, code: str, words: str) -> None:
    (finding,) = findings(facts)
    assert (finding.code.value, finding.about) == (code, "n2")
    assert words in f"{finding.problem} {finding.evidence}"
    assert all((finding.problem.endswith((".", "much.")), finding.evidence, finding.remedy))


def test_a_link_without_a_secret_in_common_is_told_where_one_end_has_some() -> None:
    (finding,) = findings(link(), facts=own(secretCount=2))
    assert codes([finding]) == [("no_preshared_key", "n2")]
    assert "Give n2 the mesh's secrets" in finding.remedy
    (finding,) = findings(link(toldSecretCount=1))
    assert "Give n1 the mesh's secrets" in finding.remedy
    assert not findings(link(toldSecretCount=1, secretInCommon=True), facts=own(secretCount=2))
    (finding,) = findings(silent(), facts=own(secretCount=2))
    assert finding.code is not Code.NO_PRESHARED_KEY


def test_a_peer_that_has_another_key_for_this_node_is_about_this_node() -> None:
    (finding,) = findings(link(view=view(peerKey=OTHER)))
    assert (finding.code, finding.about) == (Code.KEY_MISMATCH, "n1")


def without_view(**changed: Any) -> LinkFacts:
    facts = silent(watched=False, **changed)
    facts.ClearField("view")
    return facts


def test_a_member_that_nobody_hears_is_off() -> None:
    others = [view(nodeName=name, heard=False, handshakeMsecAgo=-1) for name in ("n3", "n4")]
    (finding,) = findings(without_view(status="failed", others=others))
    assert finding.code is Code.PEER_DOWN
    assert "n3 and n4 cannot reach it either" in finding.evidence


def test_a_member_that_others_hear_is_not_off_and_where_they_see_it_is_told() -> None:
    others = [view(nodeName="n3", heard=True, endpoint="198.51.100.9:1024")]
    (finding,) = findings(without_view(others=others))
    assert finding.code is Code.FILTERED
    assert "n3 can reach it" in finding.evidence
    assert "Other members reach n2 at 198.51.100.9:1024." in finding.remedy


def test_of_a_member_that_nobody_else_can_speak_for_no_more_is_said_than_is_known() -> None:
    (finding,) = findings(without_view(status="failed"))
    assert finding.problem == "n2 does not respond."


def test_a_peer_without_probes_is_up_by_its_handshake() -> None:
    assert findings(link(probed=False, heard=False, hearsUs=False)) == []
    stale = without_view(probed=False, handshakeMsecAgo=600_000)
    assert codes(findings(stale)) == [("filtered", "n2")]


def test_who_is_not_bound_is_explained_by_what_was_refused() -> None:
    refused = Refused(
        reason=RejectionReason.ADDRESS_BOUND.value,
        message="n2 claims 10.232.0.1, which n3 holds",
        secondsAgo=4,
    )
    (finding,) = findings(link(boundKey="", programmed=False), facts=own(refused=[refused]))
    assert finding.code is Code.NOT_ADMITTED
    assert "n2 claims 10.232.0.1, which n3 holds" in finding.evidence


def test_whatever_the_facts_are_a_link_has_findings_or_none() -> None:
    """Facts of a hostile or broken other end come to sentences, never to an error."""
    rng = random.Random(7)
    fields = [field for field in LinkFacts.DESCRIPTOR.fields if not field.is_repeated]
    for _ in range(500):
        facts = link() if rng.random() < 0.5 else silent()
        for field in rng.sample(fields, 6):
            if field.message_type is not None:
                facts.ClearField(field.name)
            elif field.type == field.TYPE_BOOL:
                setattr(facts, field.name, rng.random() < 0.5)
            elif field.type == field.TYPE_STRING:
                setattr(facts, field.name, rng.choice(["", "\x1b[31m", OTHER]))
            else:
                setattr(facts, field.name, rng.choice([-1, 0, 1, 2**31 - 1]))
        assert all(one.problem and one.evidence and one.remedy for one in findings(facts))
