"""What of a binding may change, which member displaces another, and what is kept of removed ones."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from tests.unit.local import LocalClaim

from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.ledger import (
    MAX_FORMER_ADDRESSES,
    Ledger,
    RejectionReason,
    are_compatible_addresses,
    join_addresses,
    merge_endpoints,
    usable_endpoints,
)
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint

RANGES = (ip_network("10.232.0.0/16"), ip_network("fd32::/64"))
OWN = LocalClaim("me", PublicKey(bytes([255]) * 32), (ip_address("10.232.1.1"),), RANGES)
SITE = ip_network("192.168.7.0/24")


def key(number: int) -> PublicKey:
    return PublicKey(number.to_bytes(32, "big"))


def claim(number: int, node: str | None = None, *addresses: str) -> Claim:
    found = addresses or (f"10.232.0.{number}",)
    endpoint = Endpoint(ip_address(f"192.0.2.{number}"), 54540)
    name = f"node{number}" if node is None else node
    return Claim(name, key(number), tuple(map(ip_address, found)), (endpoint,))


def record(number: int, begins: int) -> AdmissionRecord:
    one = claim(number)
    return AdmissionRecord("blue", one.node, one.public_key, one.addresses, begins, begins + 9, b"", b"", b"")


def bound(ledger: Ledger, number: int) -> Binding:
    binding = ledger.by_key(key(number))
    assert binding is not None
    return binding


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger(OWN)
    assert made.accept(claim(1), Origin.PEERS, 100.0, identity="holder") is None
    return made


def test_who_is_bound_keeps_origin_time_and_identity_unless_it_is_authenticated_anew(ledger: Ledger) -> None:
    assert ledger.accept(replace(claim(1), bootstrap=True), Origin.GOSSIP, 200.0) is None
    found = bound(ledger, 1)
    assert (found.origin, found.since, found.identity) == (Origin.PEERS, 100.0, "holder")
    assert ledger.accept(claim(1), Origin.ADMITTED, 300.0, identity="another") is None
    again = bound(ledger, 1)
    assert (again.since, again.identity, again.claim) == (100.0, "another", found.claim)


def test_what_is_no_news_leaves_the_binding_as_it_is(ledger: Ledger) -> None:
    before = bound(ledger, 1)
    assert ledger.accept(claim(1), Origin.GOSSIP, 200.0) is None
    assert ledger.accept(claim(1), Origin.GOSSIP, 200.0, identity="holder") is None
    assert bound(ledger, 1) is before


def test_a_bootstrap_node_stays_one_whatever_is_heard_of_it_later(ledger: Ledger) -> None:
    assert not bound(ledger, 1).claim.bootstrap
    ledger.accept(replace(claim(1), bootstrap=True), Origin.GOSSIP, 1.0)
    ledger.accept(claim(1), Origin.GOSSIP, 2.0)
    assert bound(ledger, 1).claim.bootstrap


def test_the_newest_record_holds_with_the_routes_that_came_with_it(ledger: Ledger) -> None:
    new, old = record(1, 20), record(1, 10)
    ledger.accept(replace(claim(1), admission=new, routes=(SITE,)), Origin.RECORD, 1.0)
    assert bound(ledger, 1).claim.admission is new
    ledger.accept(replace(claim(1), admission=old, routes=()), Origin.RECORD, 2.0)
    assert bound(ledger, 1).claim.admission is new
    assert bound(ledger, 1).claim.routes == (SITE,)
    newer = record(1, 30)
    ledger.accept(replace(claim(1), admission=newer, routes=(SITE,)), Origin.RECORD, 3.0)
    assert bound(ledger, 1).claim.admission is newer


def test_who_says_nothing_of_secrets_changes_none_and_who_does_changes_them(ledger: Ledger) -> None:
    ledger.accept(replace(claim(1), secret_ids=(b"aaaa",)), Origin.GOSSIP, 1.0)
    ledger.accept(claim(1), Origin.GOSSIP, 2.0)
    assert bound(ledger, 1).claim.secret_ids == (b"aaaa",)
    ledger.accept(replace(claim(1), secret_ids=()), Origin.GOSSIP, 3.0)
    assert bound(ledger, 1).claim.secret_ids == ()


def test_what_a_bootstrap_node_says_displaces_every_binding_against_it(ledger: Ledger) -> None:
    ledger.accept(claim(2), Origin.GOSSIP, 1.0)
    ledger.accept(claim(3), Origin.GOSSIP, 1.0)
    told = replace(claim(4, "node1", "10.232.0.2"))
    assert ledger.is_conflicting(told)
    assert {one.claim.node for one in ledger.conflicting_bindings(told)} == {"node1", "node2"}
    assert ledger.bind(told, Origin.PEERS, 5.0) is None
    assert {binding.claim.node: binding.claim.public_key for binding in ledger} == {
        "node3": key(3),
        "node1": key(4),
    }
    assert bound(ledger, 4).since == 5.0
    assert not ledger.is_conflicting(told)
    assert ledger.conflicting_bindings(told) == []


def test_the_same_key_under_another_name_or_address_is_bound_anew(ledger: Ledger) -> None:
    for told in (claim(1, "renamed"), claim(1, "renamed", "10.232.0.9")):
        assert ledger.conflicting_bindings(told) == [bound(ledger, 1)]
        assert ledger.bind(told, Origin.PEERS, 5.0) is None
        assert bound(ledger, 1).claim == told
    assert ledger.by_name("node1") is None
    assert ledger.by_address(ip_address("10.232.0.1")) is None


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (claim(2, "me"), RejectionReason.OWN_NAME),
        (claim(2, "node1", "10.232.1.1"), RejectionReason.OWN_ADDRESS),
        (replace(claim(1), public_key=OWN.public_key), RejectionReason.OWN_KEY),
        (claim(2, "node1", "10.99.0.1"), RejectionReason.BAD_ADDRESS),
    ],
)
def test_not_even_a_bootstrap_node_gives_away_what_is_this_node_s_own(
    ledger: Ledger, told: Claim, reason: RejectionReason
) -> None:
    before = list(ledger)
    refused = ledger.bind(told, Origin.PEERS, 5.0)
    assert refused is not None
    assert (refused.reason, refused.claim) == (reason, told)
    assert ledger.rejection_of(told)
    assert not ledger.is_conflicting(told)
    assert list(ledger) == before


def test_a_claim_that_nothing_is_bound_against_is_neither_refused_nor_in_conflict(ledger: Ledger) -> None:
    assert not ledger.rejection_of(claim(2))
    assert not ledger.is_conflicting(claim(2))
    assert not ledger.is_conflicting(claim(1))
    assert ledger.rejection_of(claim(2, "node1"))


def test_refusals_say_who_claims_what_of_whom(ledger: Ledger) -> None:
    said = {}
    for told in (
        claim(2, "node1"),
        claim(2, "other", "10.232.0.1"),
        claim(2, "", "10.232.0.1"),
        claim(1, "renamed"),
        claim(1, "node1", "10.232.0.9"),
    ):
        refused = ledger.accept(told, Origin.GOSSIP, 1.0)
        assert refused is not None
        said[refused.message] = refused.reason
    assert said == {
        f"{key(2)} claims the name node1, which {key(1)} holds": RejectionReason.NAME_BOUND,
        "other claims 10.232.0.1, which node1 holds": RejectionReason.ADDRESS_BOUND,
        f"{key(2)} claims 10.232.0.1, which node1 holds": RejectionReason.ADDRESS_BOUND,
        "renamed claims the WireGuard key of node1": RejectionReason.KEY_BOUND,
        "node1 is bound to 10.232.0.1 and now claims 10.232.0.9": RejectionReason.ADDRESS_CHANGED,
    }


def test_that_a_member_is_alive_is_noted_of_the_bound_alone(ledger: Ledger) -> None:
    ledger.mark_alive(key(1), 500.0)
    ledger.mark_alive(key(9), 500.0)
    assert bound(ledger, 1).last_seen == 500.0
    assert bound(ledger, 1).since == 100.0
    assert len(ledger) == 1


def test_who_went_is_answered_and_forgotten_but_for_its_addresses(ledger: Ledger) -> None:
    before = bound(ledger, 1)
    assert ledger.remove(key(1)) is before
    assert ledger.remove(key(1)) is None
    assert ledger.by_name("node1") is None
    assert ledger.by_address(ip_address("10.232.0.1")) is None
    assert ledger.former_addresses("node1") == (ip_address("10.232.0.1"),)
    assert ledger.former_addresses("node2") == ()
    assert ledger.addresses() == {ip_address("10.232.1.1")}


def test_a_removal_is_taken_back_unless_another_has_come(ledger: Ledger) -> None:
    before = ledger.remove(key(1))
    assert before is not None
    ledger.restore(before)
    assert ledger.by_name("node1") is before
    ledger.remove(key(1))
    ledger.accept(claim(2, "node1"), Origin.PEERS, 1.0)
    ledger.restore(before)
    assert ledger.by_key(key(1)) is None


def test_one_without_a_name_is_found_by_key_and_address_and_leaves_no_former_ones(ledger: Ledger) -> None:
    ledger.accept(claim(2, ""), Origin.ANNOUNCED, 1.0)
    assert ledger.by_name("") is None
    assert ledger.by_address(ip_address("10.232.0.2")) is bound(ledger, 2)
    ledger.accept(claim(3, ""), Origin.ANNOUNCED, 1.0)
    assert len(ledger) == 3
    ledger.remove(key(2))
    assert ledger.former_addresses("") == ()


def test_the_addresses_of_those_that_went_last_are_remembered(ledger: Ledger) -> None:
    addresses = RANGES[0]
    for number in range(2, MAX_FORMER_ADDRESSES + 3):
        one = Claim(f"n{number}", key(number), (addresses[1024 + number],), ())
        assert ledger.accept(one, Origin.PEERS, 1.0) is None
        ledger.remove(key(number))
        if number == 3:
            ledger.accept(Claim("n2", key(2), (addresses[1024 + 2],), ()), Origin.PEERS, 1.0)
            ledger.remove(key(2))
    assert ledger.former_addresses("n2"), "it went once more after n3"
    assert not ledger.former_addresses("n3")
    assert ledger.former_addresses("n4")
    assert MAX_FORMER_ADDRESSES == 4096


def test_what_cannot_be_at_load_is_told_and_the_rest_is_bound() -> None:
    first, rival = (
        Binding(claim(1), Origin.PEERS, 1.0),
        Binding(claim(2, "node1"), Origin.PEERS, 1.0),
    )
    ledger = Ledger(OWN, [first, rival, Binding(claim(3), Origin.PEERS, 1.0)])
    assert [binding.claim.public_key for binding in ledger] == [key(1), key(3)]
    assert [refused.reason for refused in ledger.rejected_at_load] == [RejectionReason.NAME_BOUND]


@pytest.mark.parametrize(
    ("some", "others", "compatible"),
    [
        (("10.232.0.1",), ("10.232.0.1",), True),
        (("10.232.0.1",), ("10.232.0.1", "fd32::1"), True),
        (("10.232.0.1", "fd32::1"), ("10.232.0.1",), False),
        (("10.232.0.1", "fd32::1"), ("10.232.0.1", "fd32::2"), False),
        (("10.232.0.1",), ("10.232.0.2",), False),
    ],
)
def test_who_names_but_a_part_of_the_bound_addresses_does_not_contradict(
    some: tuple[str, ...], others: tuple[str, ...], compatible: bool
) -> None:
    one, other = (tuple(map(ip_address, texts)) for texts in (some, others))
    assert are_compatible_addresses(one, other) is compatible


def test_endpoints_are_merged_newest_first_each_once_and_eight_at_most() -> None:
    ends = [Endpoint(ip_address(f"192.0.2.{number}"), 1) for number in range(1, 11)]
    assert merge_endpoints(ends[:2], [ends[1], ends[2]]) == tuple(ends[:3])
    assert merge_endpoints(ends[:6], ends[6:]) == tuple(ends[:8])
    assert join_addresses((ip_address("10.232.0.1"), ip_address("fd32::1"))) == "10.232.0.1, fd32::1"
    assert usable_endpoints([Endpoint(ip_address("10.232.0.7"), 1), ends[0]], RANGES) == (ends[0],)


def test_one_without_a_name_gets_it_from_a_bootstrap_node_and_stays_the_same_binding(ledger: Ledger) -> None:
    ledger.accept(claim(2, ""), Origin.ANNOUNCED, 50.0)
    assert ledger.conflicting_bindings(claim(2)) == []
    assert ledger.bind(claim(2), Origin.PEERS, 60.0) is None
    assert (bound(ledger, 2).since, bound(ledger, 2).claim.node) == (50.0, "node2")
    assert ledger.bind(claim(2, ""), Origin.PEERS, 70.0) is None
    assert (bound(ledger, 2).since, bound(ledger, 2).claim.node) == (50.0, "node2")


def test_whoever_claims_what_is_this_node_s_own_is_named_if_it_has_a_name(ledger: Ledger) -> None:
    said = []
    for name in ("other", ""):
        for told in (replace(claim(2, name), public_key=OWN.public_key), claim(2, name, "10.99.0.1")):
            refused = ledger.accept(told, Origin.GOSSIP, 1.0)
            assert refused is not None
            said.append(refused.message)
    assert said == [
        "other claims this node's own WireGuard key",
        "other claims 10.99.0.1, which is not a host address of the mesh's ranges",
        f"{OWN.public_key} claims this node's own WireGuard key",
        f"{key(2)} claims 10.99.0.1, which is not a host address of the mesh's ranges",
    ]


def test_reasons_are_in_metrics_by_these_words() -> None:
    assert [reason.value for reason in RejectionReason] == [
        "own_name",
        "own_key",
        "own_address",
        "bad_name",
        "bad_address",
        "name_bound",
        "key_bound",
        "address_bound",
        "address_changed",
    ]
