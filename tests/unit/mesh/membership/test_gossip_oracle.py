"""What the ledger says to gossip of names and addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from tests.unit.local import LocalClaim

from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.gossip_oracle import LedgerVouching
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.wireguard.keys import PublicKey

OWN_ADDRESS, ADDRESS = IPv4Address("10.232.1.1"), IPv4Address("10.232.0.5")


def key(number: int) -> PublicKey:
    return PublicKey(number.to_bytes(32, "big"))


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(LocalClaim("own", key(1), (OWN_ADDRESS,), (IPv4Network("10.232.0.0/16"),)))


def test_a_bound_member_is_vouched_for_and_holds_its_address(ledger: Ledger) -> None:
    assert ledger.accept(Claim("n5", key(5), (ADDRESS,), ()), Origin.ANNOUNCED, 1.0) is None
    vouching = LedgerVouching(ledger, is_admitted=True)
    assert vouching.is_vouched_for("n5")
    assert vouching.holder(ADDRESS) == "n5"


def test_an_unbound_name_is_not_vouched_for(ledger: Ledger) -> None:
    vouching = LedgerVouching(ledger, is_admitted=True)
    assert not vouching.is_vouched_for("n6")
    assert vouching.holder(ADDRESS) is None


@pytest.mark.parametrize("admitted", [True, False])
def test_the_own_name_is_vouched_for_where_it_was_admitted(ledger: Ledger, admitted: bool) -> None:
    vouching = LedgerVouching(ledger, is_admitted=admitted)
    assert vouching.is_vouched_for("own") is admitted
    assert vouching.holder(OWN_ADDRESS) == "own"
