"""`wgmesh_agent.wireguard.diff`, and `patch` as the judge of what it does."""

import time
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from tests.unit.wireguard.devices import ENDPOINTS, KEYS, NOW, OTHER, OWN, OWN_PUBLIC, devices, wishes

from wgmesh_agent.wireguard.diff import (
    Change,
    RemovePeer,
    SetDevice,
    SetPeer,
    allowed_ip_owners,
    diff,
    superseded_removals,
)
from wgmesh_agent.wireguard.keys import NO_PRESHARED_KEY, PresharedKey, PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer, Device, Endpoint, Network, Peer
from wgmesh_agent.wireguard.patch import apply, endpoint_write_times

A, B = KEYS[:2]
FIRST, SECOND = ENDPOINTS[:2]
LEARNED = Endpoint(ip_address("198.51.100.9"), 40000)
R1, R2 = ip_network("10.232.1.1/32"), ip_network("10.232.2.0/24")


def changes(desired: DesiredDevice, actual: Device, now: float = NOW) -> tuple[Change, ...]:
    return diff(desired, actual, now_unix=now, own_public=OWN_PUBLIC)


def wish(*peers: DesiredPeer, port: int = 0) -> DesiredDevice:
    return DesiredDevice(OWN, port, peers)


def device(*peers: Peer) -> Device:
    return Device("wgtest", OWN_PUBLIC, 51820, 0, {peer.public_key: peer for peer in peers})


@given(wishes(), devices())
def test_applied_once_nothing_is_left_to_do(desired: DesiredDevice, actual: Device) -> None:
    result = apply(actual, changes(desired, actual), now_unix=NOW)
    assert changes(desired, result) == ()


@given(wishes(), devices())
def test_the_result_is_what_was_desired(desired: DesiredDevice, actual: Device) -> None:
    result = apply(actual, changes(desired, actual), now_unix=NOW)
    assert result.public_key == OWN_PUBLIC
    assert desired.listen_port in (0, result.listen_port)
    assert result.fwmark == actual.fwmark
    wanted = {peer.public_key: peer for peer in desired.peers if peer.public_key != OWN_PUBLIC}
    assert set(result.peers) == set(wanted)
    for key, peer in wanted.items():
        got = result.peers[key]
        assert got.allowed_ips == peer.allowed_ips
        before = actual.peers.get(key)
        expected = (
            (before.keepalive_seconds if before else 0)
            if peer.keepalive_seconds is None
            else peer.keepalive_seconds
        )
        assert got.keepalive_seconds == expected
        had = before.preshared_key if before else NO_PRESHARED_KEY
        assert got.preshared_key == (had if peer.preshared_key is None else peer.preshared_key)
        # A session that lives is never touched.
        if before is not None:
            assert got.last_handshake == before.last_handshake
            if NOW - before.last_handshake < 180 and before.endpoint is not None:
                assert got.endpoint == before.endpoint
        elif peer.endpoints:
            assert got.endpoint == peer.endpoints[0]


@given(wishes(), devices())
def test_a_range_that_stays_wanted_is_never_at_no_peer(desired: DesiredDevice, actual: Device) -> None:
    wanted = {one for peer in desired.peers if peer.public_key != OWN_PUBLIC for one in peer.allowed_ips}
    # A peer that has our own key is thrown out by WireGuard as soon as the key is set.
    carried = {one for one, key in allowed_ip_owners(actual).items() if key != OWN_PUBLIC} & wanted
    for change in changes(desired, actual):
        actual = apply(actual, [change], now_unix=NOW)
        assert carried <= set(allowed_ip_owners(actual))


@given(wishes(), devices())
def test_nothing_is_said_that_is_so_already(desired: DesiredDevice, actual: Device) -> None:
    for change in changes(desired, actual):
        if isinstance(change, SetPeer):
            before = actual.peers.get(change.public_key)
            assert change.create == (before is None)
            if before is not None:
                assert not change.add_allowed_ips & before.allowed_ips
                assert change.remove_allowed_ips <= before.allowed_ips
                assert change.endpoint != before.endpoint or change.endpoint is None
                assert change.keepalive_seconds != before.keepalive_seconds
        elif isinstance(change, RemovePeer):
            assert change.public_key in actual.peers


def test_a_new_peer_gets_its_first_candidate() -> None:
    wanted = DesiredPeer(A, frozenset({R1}), (FIRST, SECOND), 25)
    assert changes(wish(wanted), device()) == (
        SetPeer(A, FIRST, frozenset({R1}), frozenset(), 25, create=True),
    )


def test_another_pre_shared_key_is_all_that_is_said() -> None:
    """The peer stays, with its session and where it was learned to be."""
    key = PresharedKey(b"\x05" * 32)
    held = Peer(A, LEARNED, frozenset({R1}), 25, NOW - 10)
    wanted = DesiredPeer(A, frozenset({R1}), (FIRST,), 25, preshared_key=key)
    assert changes(wish(wanted), device(held)) == (SetPeer(A, preshared_key=key),)
    assert changes(wish(wanted), device(replace(held, preshared_key=key))) == ()
    none = replace(wanted, preshared_key=NO_PRESHARED_KEY)
    assert changes(wish(none), device(replace(held, preshared_key=key))) == (
        SetPeer(A, preshared_key=NO_PRESHARED_KEY),
    )
    left = replace(wanted, preshared_key=None)
    assert changes(wish(left), device(replace(held, preshared_key=key))) == ()


def test_a_peer_without_an_endpoint_gets_its_first_candidate() -> None:
    wanted = DesiredPeer(A, frozenset(), (FIRST, SECOND))
    assert changes(wish(wanted), device(Peer(A, None, last_handshake=NOW))) == (SetPeer(A, FIRST),)


@pytest.mark.parametrize("age", [0, 100, 179])
def test_a_learned_endpoint_with_a_recent_handshake_is_kept(age: int) -> None:
    wanted = DesiredPeer(A, frozenset(), (FIRST, SECOND))
    assert changes(wish(wanted), device(Peer(A, LEARNED, last_handshake=NOW - age))) == ()


def test_a_learned_endpoint_without_a_handshake_for_180_seconds_gives_way() -> None:
    wanted = DesiredPeer(A, frozenset(), (FIRST, SECOND))
    assert changes(wish(wanted), device(Peer(A, LEARNED, last_handshake=NOW - 180))) == (SetPeer(A, FIRST),)


def test_an_endpoint_without_another_candidate_is_kept_for_ever() -> None:
    wanted = DesiredPeer(A, frozenset(), (FIRST,))
    assert changes(wish(wanted), device(Peer(A, FIRST, last_handshake=NOW - 10**6))) == ()
    assert changes(wish(DesiredPeer(A, frozenset())), device(Peer(A, LEARNED))) == ()


def test_candidates_take_turns_until_one_answers() -> None:
    wanted = wish(DesiredPeer(A, frozenset(), (FIRST, SECOND)))
    current, now, seen = device(), NOW, []
    for _ in range(12):
        for change in changes(wanted, current, now):
            assert isinstance(change, SetPeer)
            seen.append((now - NOW, change.endpoint))
        current = apply(current, changes(wanted, current, now), now_unix=now)
        now += 2
    assert seen == [(0, FIRST), (6, SECOND), (12, FIRST), (18, SECOND)]


def test_what_is_to_be_tried_now_is_written_once() -> None:
    wanted = DesiredPeer(A, frozenset(), (FIRST, SECOND), try_now=SECOND)
    assert changes(wish(wanted), device(Peer(A, FIRST, last_handshake=NOW))) == (SetPeer(A, SECOND),)
    assert changes(wish(wanted), device(Peer(A, SECOND))) == ()
    assert changes(wish(wanted), device())[0] == SetPeer(A, SECOND, create=True)


def test_a_range_moves_by_being_given_to_its_new_peer_alone() -> None:
    actual = device(Peer(A, allowed_ips=frozenset({R1, R2})), Peer(B))
    moved = wish(DesiredPeer(A, frozenset({R1})), DesiredPeer(B, frozenset({R2})))
    assert changes(moved, actual) == (SetPeer(B, add_allowed_ips=frozenset({R2})),)


def test_a_node_with_a_new_key_takes_its_range_before_the_old_key_goes() -> None:
    actual = device(Peer(A, allowed_ips=frozenset({R1})))
    assert changes(wish(DesiredPeer(B, frozenset({R1}))), actual) == (
        SetPeer(B, add_allowed_ips=frozenset({R1}), create=True),
        RemovePeer(A),
    )


def test_a_range_nobody_wants_is_taken_from_its_peer() -> None:
    actual = device(Peer(A, allowed_ips=frozenset({R1, R2})))
    assert changes(wish(DesiredPeer(A, frozenset({R1}))), actual) == (
        SetPeer(A, remove_allowed_ips=frozenset({R2})),
    )


def test_the_device_is_set_only_where_it_differs() -> None:
    assert changes(wish(port=51820), device()) == ()
    assert changes(wish(port=51821), device()) == (SetDevice(None, 51821),)
    assert changes(wish(port=51820), replace(device(), public_key=OTHER.public())) == (SetDevice(OWN),)
    assert changes(wish(), replace(device(), public_key=None)) == (SetDevice(OWN),)


def test_a_keepalive_is_left_set_or_cleared_as_wished() -> None:
    actual = device(Peer(A, keepalive_seconds=25))
    assert changes(wish(DesiredPeer(A, frozenset(), (), None)), actual) == ()
    assert changes(wish(DesiredPeer(A, frozenset(), (), 25)), actual) == ()
    assert changes(wish(DesiredPeer(A, frozenset(), (), 0)), actual) == (SetPeer(A, keepalive_seconds=0),)


def test_our_own_key_is_never_a_peer() -> None:
    assert changes(wish(DesiredPeer(OWN_PUBLIC, frozenset({R1}))), device()) == ()


def test_a_peer_that_has_gone_is_not_made_again_by_a_change_to_it() -> None:
    result = apply(device(), [SetPeer(A, FIRST)], now_unix=NOW)
    assert result.peers == {}


def test_the_time_of_writing_an_endpoint_is_kept_until_the_peer_goes() -> None:
    written = endpoint_write_times(
        {A: 1.0}, [SetPeer(B, FIRST), SetPeer(A, keepalive_seconds=1)], now_unix=NOW
    )
    assert written == {A: 1.0, B: NOW}
    assert endpoint_write_times(written, [RemovePeer(B), SetDevice(OWN)], now_unix=NOW) == {A: 1.0}


@pytest.mark.heavy
def test_five_thousand_peers_are_compared_within_the_time_a_loop_can_spare() -> None:
    keys = [PublicKey(number.to_bytes(32, "big")) for number in range(5000)]
    base = int(ip_address("10.232.0.0"))
    wanted = wish(
        *(DesiredPeer(key, frozenset({ip_network(base + n)}), (FIRST,), 25) for n, key in enumerate(keys))
    )
    actual = device(
        *(Peer(key, FIRST, frozenset({ip_network(base + n)}), 25, NOW) for n, key in enumerate(keys))
    )
    began = time.process_time()
    assert changes(wanted, actual) == ()
    assert time.process_time() - began < 0.5


@given(wishes(), devices())
def test_only_who_has_nothing_left_may_be_removed_later(desired: DesiredDevice, actual: Device) -> None:
    changes = diff(desired, actual, now_unix=NOW, own_public=OWN_PUBLIC)
    late = superseded_removals(changes, actual)
    between = apply(actual, [change for change in changes if change not in late], now_unix=NOW)
    assert not any(
        peer.allowed_ips for change in late if (peer := between.peers.get(change.public_key)) is not None
    )
    assert apply(between, late, now_unix=NOW).peers == apply(actual, changes, now_unix=NOW).peers
    for change in changes:
        if isinstance(change, RemovePeer) and change not in late:
            taken = {one for other in changes if isinstance(other, SetPeer) for one in other.add_allowed_ips}
            held = actual.peers[change.public_key].allowed_ips
            assert not held or held - taken


@pytest.mark.parametrize(
    ("held", "late"),
    [((), False), ((R1,), True), ((R1, R2), False), ((R2,), False)],
    ids=["nothing", "what goes", "more than goes", "something else"],
)
def test_a_removal_may_wait_while_all_that_its_peer_holds_goes_to_others(
    held: tuple[Network, ...], late: bool
) -> None:
    made: list[Change] = [SetPeer(B, add_allowed_ips=frozenset({R1}), create=True), RemovePeer(A)]
    found = superseded_removals(made, device(Peer(A, allowed_ips=frozenset(held))))
    assert found == ([RemovePeer(A)] if late else [])
    assert superseded_removals(made, device()) == []


def test_a_new_peer_is_told_of_what_it_is_to_have_alone() -> None:
    plain = DesiredPeer(A, frozenset(), (), 0, preshared_key=NO_PRESHARED_KEY)
    assert changes(wish(plain), device()) == (SetPeer(A, create=True),)
    tried = DesiredPeer(A, frozenset(), (), try_now=SECOND)
    assert changes(wish(tried), device()) == (SetPeer(A, SECOND, create=True),)
