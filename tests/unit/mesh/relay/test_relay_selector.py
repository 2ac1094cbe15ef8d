"""Relays: two ends agree on one, try the direct path on, and no address ever stands at two peers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.local import LocalClaim

from wgmesh_agent.mesh.relay.relay_selector import (
    DIRECT_VALID_SECONDS,
    GIVE_UP_SECONDS,
    KEEPALIVE_SECONDS,
    PROPOSE_INTERVAL_SECONDS,
    RELAY_AFTER_SECONDS,
    RelayProposal,
    RelaySelector,
)
from wgmesh_agent.wireguard.diff import diff
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer, Device, Peer
from wgmesh_agent.wireguard.patch import apply

KEYS = [PublicKey(bytes([number]) * 32) for number in range(1, 7)]
A, B, R, S = KEYS[:4]
OWN = PrivateKey(bytes([8]) + bytes(30) + bytes([64]))
WORKING = {B: True, R: True, S: True}
DEAD = {**WORKING, B: False}


def address(key: PublicKey) -> frozenset[object]:
    return frozenset({ip_network(f"10.232.0.{KEYS.index(key) + 1}/32")})


def desired(*keys: PublicKey) -> DesiredDevice:
    return DesiredDevice(OWN, 0, tuple(DesiredPeer(key, address(key)) for key in keys))  # type: ignore[arg-type]


def device(received: int = 0) -> Device:
    peers = {key: Peer(key, rx_bytes=received if key == B else 0) for key in (B, R, S)}
    return Device("wgtest", OWN.public(), peers=peers)


def relayed(now: float = 0.0) -> RelaySelector:
    found = RelaySelector(LocalClaim("me", A, (), ()))
    found.confirm(RelayProposal(B, R), now)
    return found


def asked(
    relays: RelaySelector, links: dict[PublicKey, bool], seconds: float, start: float = 0.0
) -> list[RelayProposal]:
    """All its proposals, checked every second."""
    return [
        question
        for step in range(int(seconds) + 1)
        for question in relays.update(links, [R, S], device(), start + step)
    ]


def test_a_path_that_works_is_left_alone() -> None:
    assert asked(RelaySelector(LocalClaim("me", A, (), ())), WORKING, 100) == []


def test_a_dead_path_is_given_time_and_then_a_relay_is_asked_for() -> None:
    relays = RelaySelector(LocalClaim("me", A, (), ()))
    assert asked(relays, DEAD, RELAY_AFTER_SECONDS - 1) == []
    assert asked(relays, DEAD, 0, RELAY_AFTER_SECONDS) == [RelayProposal(B, R)]
    assert relays.relays_in_use() == {}


def test_another_relay_is_asked_for_where_the_first_does_not_agree() -> None:
    questions = asked(
        RelaySelector(LocalClaim("me", A, (), ())), DEAD, RELAY_AFTER_SECONDS + 2 * PROPOSE_INTERVAL_SECONDS
    )
    assert questions == [RelayProposal(B, R), RelayProposal(B, S), RelayProposal(B, R)]


def test_of_two_ends_only_the_lower_key_asks() -> None:
    assert asked(RelaySelector(LocalClaim("me", B, (), ())), {A: False, R: True}, 100) == []


@pytest.mark.parametrize("links", [{B: False, R: False}, {B: False}, {B: False, R: False, S: False}])
def test_nobody_is_asked_who_has_no_working_path(links: dict[PublicKey, bool]) -> None:
    assert asked(RelaySelector(LocalClaim("me", A, (), ())), links, 60) == []


@pytest.mark.parametrize(
    ("links", "relay", "agrees"),
    [
        (DEAD, R, True),
        # No message makes it abandon a working path.
        (WORKING, R, False),
        # Not one of those named, or not reached itself, or the asker.
        (DEAD, KEYS[5], False),
        ({B: False, R: False}, R, False),
        (DEAD, B, False),
        (DEAD, None, True),
    ],
)
def test_the_other_end_agrees_only_to_what_it_would_do_itself(
    links: dict[PublicKey, bool], relay: PublicKey | None, agrees: bool
) -> None:
    relays = RelaySelector(LocalClaim("me", A, (), ()))
    assert relays.accepts(RelayProposal(B, relay), links, [R, S, B], 0.0) is agrees
    assert relays.relays_in_use() == ({B: relay} if agrees and relay else {})


def test_a_relay_that_is_relayed_itself_relays_nobody() -> None:
    relays = RelaySelector(LocalClaim("me", A, (), ()))
    relays.confirm(RelayProposal(R, S), 0.0)
    assert not relays.accepts(RelayProposal(B, R), DEAD, [R, S], 0.0)
    assert RelayProposal(B, R) not in asked(relays, DEAD, 30)


def test_the_addresses_move_to_the_relay_and_the_tunnel_goes_on_trying() -> None:
    shaped = {peer.public_key: peer for peer in relayed().refine(desired(B, R, S)).peers}
    assert shaped[R].allowed_ips == address(R) | address(B)
    assert shaped[B].allowed_ips == frozenset()
    assert shaped[B].keepalive_seconds == KEEPALIVE_SECONDS
    assert shaped[S] == DesiredPeer(S, address(S))  # type: ignore[arg-type]


def test_what_came_back_to_the_direct_path_loses_the_keepalive_again() -> None:
    relays = relayed()
    relays.confirm(RelayProposal(B, None), 1.0)
    shaped = {peer.public_key: peer for peer in relays.refine(desired(B, R)).peers}
    assert shaped[B] == DesiredPeer(B, address(B), keepalive_seconds=0)  # type: ignore[arg-type]


def test_a_relay_that_is_no_member_any_more_gives_the_addresses_back() -> None:
    relays = relayed()
    assert [peer.allowed_ips for peer in relays.refine(desired(B, S)).peers] == [address(B), address(S)]
    relays.update(DEAD, [S], device(), 1.0)
    assert relays.relays_in_use() == {}


def test_when_both_ends_hear_the_tunnel_itself_again_it_is_taken() -> None:
    end, other = relayed(), RelaySelector(LocalClaim("me", B, (), ()))
    other.confirm(RelayProposal(A, R), 0.0)
    assert end.update(WORKING, [R], device(received=100), 10.0) == []
    back = end.update(WORKING, [R], device(received=200), 11.0)
    assert back == [RelayProposal(B, None)]
    links = {A: True, R: True}
    silent = replace(device(), peers={A: Peer(A, rx_bytes=7), R: Peer(R)})
    other.update(links, [R], silent, 11.0)
    assert not other.accepts(RelayProposal(A, None), links, [R], 11.0)
    heard = replace(device(), peers={A: Peer(A, rx_bytes=8), R: Peer(R)})
    other.update(links, [R], heard, 12.0)
    assert other.accepts(RelayProposal(A, None), links, [R], 12.0)
    assert other.relays_in_use() == {}


def test_what_was_heard_long_ago_is_no_direct_path() -> None:
    relays = relayed()
    relays.update(WORKING, [R], device(received=100), 1.0)
    relays.update(WORKING, [R], device(received=200), 2.0)
    later = 2.0 + DIRECT_VALID_SECONDS + 1
    assert relays.update(WORKING, [R], device(received=200), later) == []


def test_a_relayed_peer_is_untaken_until_its_own_tunnel_is_heard_and_when_it_is_silent_again() -> None:
    relays = relayed()
    assert relays.untaken(1.0) == {B: None}
    relays.update(WORKING, [R], device(received=100), 1.0)
    assert relays.untaken(1.0) == {B: None}
    relays.update(WORKING, [R], device(received=200), 2.0)
    assert relays.untaken(2.0 + DIRECT_VALID_SECONDS) == {}
    assert relays.untaken(3.0 + DIRECT_VALID_SECONDS) == {B: DIRECT_VALID_SECONDS + 1.0}
    relays.confirm(RelayProposal(B, None), 30.0)
    assert relays.untaken(60.0) == {}


def test_a_silent_relay_is_changed_by_one_end_and_let_go_by_both() -> None:
    lower, higher = relayed(), RelaySelector(LocalClaim("me", B, (), ()))
    higher.confirm(RelayProposal(A, R), 0.0)
    assert RelayProposal(B, S) in asked(lower, DEAD, 2 * RELAY_AFTER_SECONDS + PROPOSE_INTERVAL_SECONDS)
    for step in range(int(GIVE_UP_SECONDS) + 2):
        peers = {A: Peer(A), R: Peer(R)}
        higher.update({A: False, R: True}, [R], replace(device(), peers=peers), float(step))
    assert higher.relays_in_use() == {}


def test_what_an_earlier_process_agreed_is_taken_up() -> None:
    wanted = desired(B, R, S)
    actual = apply(
        device(),
        diff(relayed().refine(wanted), device(), now_unix=0.0, own_public=OWN.public()),
        now_unix=0.0,
    )
    found = RelaySelector(LocalClaim("me", A, (), ()))
    found.restore_from_device(wanted, actual, 0.0)
    assert found.relays_in_use() == {B: R}
    assert diff(found.refine(wanted), actual, now_unix=0.0, own_public=OWN.public()) == ()


def test_nothing_is_taken_up_where_nothing_was_relayed() -> None:
    wanted = desired(B, R)
    actual = apply(device(), diff(wanted, device(), now_unix=0.0, own_public=OWN.public()), now_unix=0.0)
    found = RelaySelector(LocalClaim("me", A, (), ()))
    found.restore_from_device(wanted, actual, 0.0)
    assert found.relays_in_use() == {}
    found.restore_from_device(wanted, device(), 0.0)
    assert found.relays_in_use() == {}


@given(
    st.lists(st.tuples(st.sampled_from(KEYS[1:]), st.none() | st.sampled_from(KEYS[1:])), max_size=12),
    st.sets(st.sampled_from(KEYS[1:])),
)
def test_whatever_is_agreed_no_address_stands_at_two_peers_or_gets_lost(
    agreements: list[tuple[PublicKey, PublicKey | None]], bound: set[PublicKey]
) -> None:
    relays = RelaySelector(LocalClaim("me", A, (), ()))
    links = dict.fromkeys(KEYS[1:3], False) | dict.fromkeys(KEYS[3:], True)
    for number, (peer, relay) in enumerate(agreements):
        relays.accepts(RelayProposal(peer, relay), links, KEYS[1:], float(number))
    wanted = desired(*sorted(bound, key=str))
    shaped = relays.refine(wanted)  # raises if a range stands at two peers
    everything = {one for peer in wanted.peers for one in peer.allowed_ips}
    assert {one for peer in shaped.peers for one in peer.allowed_ips} == everything
