"""`wgmesh_agent.wireguard.allowed_ips`."""

import time
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.wireguard.devices import KEYS

from wgmesh_agent.wireguard.allowed_ips import Checked, Refusal, check
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import DesiredPeer, Network

A, B, C = KEYS[:3]


def peer(key: PublicKey, *ranges: str) -> DesiredPeer:
    return DesiredPeer(key, frozenset(ip_network(one) for one in ranges))


def test_the_earlier_peer_keeps_its_address_and_the_later_is_refused_whole() -> None:
    first, second = peer(A, "10.232.1.2/32"), peer(B, "10.232.1.2/32", "10.232.1.3/32")
    refusal = Refusal(B, ip_network("10.232.1.2/32"), ip_network("10.232.1.2/32"), A)
    assert check([first, second]) == Checked((first,), (refusal,))
    assert check([second, first]).accepted == (second,)
    assert str(refusal) == f"peer {B} claims 10.232.1.2/32, but 10.232.1.2/32 belongs to peer {A}"


def test_a_wider_and_a_narrower_range_overlap() -> None:
    inner, outer = peer(A, "10.232.1.0/24"), peer(B, "10.232.0.0/16")
    assert check([inner, outer]).accepted == (inner,)
    assert check([outer, inner]).accepted == (outer,)


def test_the_last_address_of_a_range_belongs_to_it_and_the_next_does_not() -> None:
    pair, last, next_one = peer(A, "10.1.0.0/31"), peer(B, "10.1.0.1/32"), peer(C, "10.1.0.2/32")
    assert check([pair, last, next_one]).accepted == (pair, next_one)
    assert check([last, next_one, pair]).accepted == (last, next_one)


def test_nobody_may_claim_this_nodes_own_address() -> None:
    checked = check([peer(A, "10.232.1.0/30"), peer(B, "0.0.0.0/0")], own=[ip_network("10.232.1.1/32")])
    assert checked.accepted == ()
    assert [(one.peer, one.holder) for one in checked.refusals] == [(A, None), (B, None)]
    assert "belongs to this node" in str(checked.refusals[0])


def test_a_peer_may_name_a_range_and_one_inside_it() -> None:
    nested = peer(A, "10.1.0.0/16", "10.1.1.0/24")
    checked = check([nested, peer(B, "10.1.1.1/32"), peer(C, "10.2.0.0/16")])
    assert checked.accepted == (nested, peer(C, "10.2.0.0/16"))


def test_families_do_not_overlap() -> None:
    four, six = peer(A, "0.0.0.0/0"), peer(B, "::/0")
    assert check([four, six]).accepted == (four, six)


def test_a_refused_peer_holds_nothing() -> None:
    checked = check([peer(A, "10.1.0.0/16"), peer(B, "10.1.1.0/24", "10.2.0.0/16"), peer(C, "10.2.0.0/16")])
    assert [one.public_key for one in checked.accepted] == [A, C]


def test_a_peer_named_twice_is_accepted_once() -> None:
    assert check([peer(A, "10.1.0.0/16"), peer(A)]).accepted == (peer(A, "10.1.0.0/16"),)
    assert len(check([peer(A), peer(A)]).accepted) == 1


networks: st.SearchStrategy[Network] = st.builds(
    lambda address, length: ip_network((address & (0xFFFFFFFF << (32 - length)), length)),
    st.integers(0x0AE80000, 0x0AE800FF),
    st.integers(22, 32),
)


@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.frozensets(networks, max_size=3)), max_size=8),
    st.frozensets(networks, max_size=2),
)
def test_what_is_accepted_never_overlaps_and_what_is_refused_would_have(
    claims: list[tuple[PublicKey, frozenset[Network]]], own: frozenset[Network]
) -> None:
    checked = check([DesiredPeer(key, ranges) for key, ranges in claims], own=own)
    accepted = {one.public_key: one.allowed_ips for one in checked.accepted}
    assert len(accepted) == len(checked.accepted)
    for key, ranges in accepted.items():
        others = [one for other, theirs in accepted.items() if other != key for one in theirs] + [*own]
        assert not any(mine.overlaps(other) for mine in ranges for other in others)
    for refusal in checked.refusals:
        assert refusal.claimed.overlaps(refusal.held)
        held = own if refusal.holder is None else accepted[refusal.holder]
        assert any(refusal.held.subnet_of(one) or one.subnet_of(refusal.held) for one in held)  # type: ignore[arg-type]
    named = {key for key, _ in claims}
    assert named == set(accepted) | {refusal.peer for refusal in checked.refusals}


def test_five_thousand_peers_are_checked_within_the_time_a_loop_can_spare() -> None:
    first = int(ip_address("10.232.0.0"))
    peers = [
        DesiredPeer(PublicKey(number.to_bytes(32, "big")), frozenset({ip_network(first + number)}))
        for number in range(5000)
    ]
    began = time.process_time()
    checked = check(peers)
    assert len(checked.accepted) == 5000
    assert time.process_time() - began < 0.5
