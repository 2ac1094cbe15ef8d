"""The ledger: what binds, what is rejected, what is removed."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.local import LocalClaim

from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.ledger import (
    MAX_ENDPOINTS,
    Ledger,
    RejectionReason,
    usable_endpoint,
)
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.addresses import is_usable_host

RANGE = ip_network("10.232.0.0/16")
OWN_KEY = PublicKey(bytes([255]) * 32)


def key(number: int) -> PublicKey:
    return PublicKey(number.to_bytes(32, "big"))


def claim(number: int, node: str | None = None, address: str | None = None) -> Claim:
    return Claim(
        node if node is not None else f"node{number}",
        key(number),
        (ip_address(address or f"10.232.0.{number}"),),
        (Endpoint(ip_address(f"192.0.2.{number}"), 54540),),
    )


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(LocalClaim("me", OWN_KEY, (ip_address("10.232.1.1"),), (RANGE,)))


def test_a_new_member_is_bound_and_found_by_key_name_and_address(ledger: Ledger) -> None:
    assert ledger.accept(claim(1), Origin.GOSSIP, 100.0) is None
    binding = ledger.by_key(key(1))
    assert binding is not None
    assert binding.since == 100.0
    assert ledger.by_name("node1") is binding
    assert ledger.by_address(ip_address("10.232.0.1")) is binding


@pytest.mark.parametrize(
    ("contradiction", "reason"),
    [
        (claim(2, node="node1"), RejectionReason.NAME_BOUND),
        (claim(2, address="10.232.0.1"), RejectionReason.ADDRESS_BOUND),
        (claim(1, node="other"), RejectionReason.KEY_BOUND),
        (claim(1, address="10.232.0.9"), RejectionReason.ADDRESS_CHANGED),
        (replace(claim(2), public_key=OWN_KEY), RejectionReason.OWN_KEY),
        (claim(2, node="me"), RejectionReason.OWN_NAME),
        (claim(2, address="10.232.1.1"), RejectionReason.OWN_ADDRESS),
        (claim(2, address="10.233.0.1"), RejectionReason.BAD_ADDRESS),
        (claim(2, address="10.232.0.0"), RejectionReason.BAD_ADDRESS),
        (claim(2, address="10.232.255.255"), RejectionReason.BAD_ADDRESS),
        (claim(2, address="fd00::1"), RejectionReason.BAD_ADDRESS),
        (replace(claim(2), addresses=()), RejectionReason.BAD_ADDRESS),
        (replace(claim(2), addresses=(ip_address("10.232.0.2"),) * 2), RejectionReason.BAD_ADDRESS),
        (claim(2, node="../../etc"), RejectionReason.BAD_NAME),
    ],
)
def test_a_contradicting_claim_is_refused_and_changes_nothing(
    ledger: Ledger, contradiction: Claim, reason: RejectionReason
) -> None:
    ledger.accept(claim(1), Origin.GOSSIP, 100.0)
    before = list(ledger)
    refusal = ledger.accept(contradiction, Origin.ANNOUNCED, 200.0)
    assert refusal is not None
    assert refusal.reason is reason
    assert refusal.message
    assert list(ledger) == before


def test_a_nameless_announcement_is_named_when_gossip_knows_the_name(ledger: Ledger) -> None:
    assert ledger.accept(claim(1, node=""), Origin.ANNOUNCED, 1.0) is None
    assert ledger.accept(claim(1), Origin.GOSSIP, 2.0) is None
    binding = ledger.by_name("node1")
    assert binding is not None
    assert binding.origin is Origin.ANNOUNCED


def test_a_fresh_endpoint_comes_first_and_known_ones_stay_candidates(ledger: Ledger) -> None:
    ledger.accept(claim(1), Origin.GOSSIP, 1.0)
    moved = Endpoint(ip_address("198.51.100.7"), 1000)
    ledger.accept(replace(claim(1), endpoints=(moved,)), Origin.GOSSIP, 2.0)
    binding = ledger.by_key(key(1))
    assert binding is not None
    assert binding.claim.endpoints == (moved, *claim(1).endpoints)


def test_endpoints_are_bounded_however_often_a_member_moves(ledger: Ledger) -> None:
    for port in range(1, 50):
        ledger.accept(
            replace(claim(1), endpoints=(Endpoint(ip_address("192.0.2.1"), port),)), Origin.GOSSIP, 1.0
        )
    binding = ledger.by_key(key(1))
    assert binding is not None
    assert len(binding.claim.endpoints) == MAX_ENDPOINTS


@pytest.mark.parametrize("address", ["10.232.9.9", "127.0.0.1", "0.0.0.0", "224.0.0.1", "::1"])
def test_an_endpoint_nobody_can_reach_is_no_candidate(ledger: Ledger, address: str) -> None:
    ledger.accept(replace(claim(1), endpoints=(Endpoint(ip_address(address), 54540),)), Origin.GOSSIP, 1.0)
    binding = ledger.by_key(key(1))
    assert binding is not None
    assert binding.claim.endpoints == ()


def test_a_part_of_the_bound_addresses_is_no_contradiction() -> None:
    ledger = Ledger(LocalClaim("me", OWN_KEY, (ip_address("10.232.1.1"),), (RANGE, ip_network("fd00::/64"))))
    both = replace(claim(1), addresses=(ip_address("10.232.0.1"), ip_address("fd00::1")))
    assert ledger.accept(both, Origin.PEERS, 1.0) is None
    assert ledger.accept(claim(1), Origin.GOSSIP, 2.0) is None
    binding = ledger.by_key(key(1))
    assert binding is not None
    assert binding.claim.addresses == both.addresses


def test_a_withdrawn_member_frees_its_name_and_addresses(ledger: Ledger) -> None:
    ledger.accept(claim(1), Origin.GOSSIP, 1.0)
    assert ledger.remove(key(1)) is not None
    assert ledger.remove(key(1)) is None
    assert ledger.accept(claim(2, node="node1", address="10.232.0.1"), Origin.GOSSIP, 2.0) is None


def test_a_snapshot_is_restored_as_it_was() -> None:
    own = LocalClaim("me", OWN_KEY, (ip_address("10.232.1.1"),), (RANGE,))
    binding = Binding(claim(1), Origin.PEERS, since=5.0, last_seen=7.0, identity="CN=x")
    ledger = Ledger(own, [binding, Binding(claim(1, node="twice"), Origin.GOSSIP, since=6.0)])
    assert list(ledger) == [binding]
    assert [refusal.reason for refusal in ledger.rejected_at_load] == [RejectionReason.KEY_BOUND]


@given(st.integers(0, 2**32))
def test_no_sequence_of_claims_gives_one_address_or_name_to_two_members(seed: int) -> None:
    rng = random.Random(seed)
    ledger = Ledger(LocalClaim("me", OWN_KEY, (ip_address("10.232.1.1"),), (RANGE,)))
    for _ in range(60):
        number = rng.randrange(1, 6)
        if rng.random() < 0.2:
            ledger.remove(key(number))
        else:
            node = rng.choice(["", "a", "b", "c", "me"])
            ledger.accept(claim(number, node, f"10.232.0.{rng.randrange(1, 6)}"), Origin.GOSSIP, 1.0)
        bindings = list(ledger)
        addresses = [address for binding in bindings for address in binding.claim.addresses]
        names = [binding.claim.node for binding in bindings if binding.claim.node]
        assert len(addresses) == len(set(addresses))
        assert len(names) == len(set(names))
        assert all(ledger.by_address(a) in bindings for a in addresses)
        assert all(ledger.by_name(n) in bindings for n in names)
        assert ledger.addresses() == {*addresses, ip_address("10.232.1.1")}


def test_who_says_nothing_of_routes_changes_none_and_who_does_changes_them(ledger: Ledger) -> None:
    site, other = ip_network("192.168.7.0/24"), ip_network("192.168.8.0/24")
    ledger.accept(replace(claim(1), routes=(site,)), Origin.ROSTER, 100.0)
    ledger.accept(claim(1), Origin.GOSSIP, 101.0)
    binding = ledger.by_key(key(1))
    assert binding is not None
    assert binding.claim.routes == (site,)
    ledger.accept(replace(claim(1), routes=(other,)), Origin.ROSTER, 102.0)
    ledger.accept(replace(claim(1), routes=()), Origin.ROSTER, 103.0)
    binding = ledger.by_key(key(1))
    assert binding is not None
    assert binding.claim.routes == ()


@pytest.mark.parametrize(
    "address",
    [
        "10.232.0.5",
        "::ffff:10.232.0.5",
        "64:ff9b::10.232.0.5",
        "2001:0:c000:201:0:1234:f517:fffa",
        "2001:db8::5efe:10.232.0.5",
        "2002:ae8:5::1",
        "::ffff:127.0.0.1",
        "127.0.0.1",
        "255.255.255.255",
        "0.0.0.1",
        "240.0.0.1",
        "fe80::1",
        "fe80::1%2",
        "ff02::1",
        "::",
    ],
)
def test_no_packet_goes_to_an_endpoint_inside_the_mesh_or_of_no_single_machine(address: str) -> None:
    assert not usable_endpoint(Endpoint(ip_address(address), 1), (ip_network("10.232.0.0/16"),))


def test_an_address_with_a_zone_is_nobody_s() -> None:
    assert not is_usable_host(ip_address("fd00::5%1"), ip_network("fd00::/64"))
