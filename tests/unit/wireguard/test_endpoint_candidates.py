"""`wgmesh_agent.wireguard.endpoint_candidates`."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from wgmesh_agent.wireguard.endpoint_candidates import elsewhere, is_stale, next_candidate
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint, Peer

A, B, C = (Endpoint(ip_address(f"192.0.2.{number}"), 51820) for number in (1, 2, 3))
LEARNED = Endpoint(ip_address("198.51.100.1"), 40000)
NOW = 1_760_000_000.0
PEER = Peer(PublicKey(bytes(32)), A)


@pytest.mark.parametrize(
    ("current", "candidates", "expected"),
    [
        (A, (A, B, C), B),
        (B, (A, B, C), C),
        (C, (A, B, C), A),
        (LEARNED, (A, B), A),
        (None, (A, B), A),
        (A, (A,), None),
        (A, (), None),
        (None, (), None),
        (LEARNED, (A,), A),
    ],
)
def test_candidates_take_turns(
    current: Endpoint | None, candidates: tuple[Endpoint, ...], expected: Endpoint | None
) -> None:
    assert next_candidate(current, candidates) == expected


def test_an_endpoint_read_back_without_its_zone_is_the_same_candidate() -> None:
    zoned, unzoned = (Endpoint(ip_address(one), 51820) for one in ("fe80::1%2", "fe80::1"))
    assert next_candidate(unzoned, (zoned,)) is None
    assert next_candidate(unzoned, (zoned, A)) == A
    other = Endpoint(ip_address("fe80::1%3"), 51820)
    assert next_candidate(zoned, (zoned, other)) == other


@pytest.mark.parametrize(
    ("handshake_ago", "written_ago", "stale"),
    [
        (None, None, True),
        (None, 5.9, False),
        (None, 6.0, True),
        (179.9, None, False),
        (180.0, None, True),
        (180.0, 5.0, False),
        (5.0, 1000.0, False),
        (-5.0, None, False),
    ],
)
def test_an_endpoint_is_stale_after_180_seconds_without_a_handshake_and_a_try(
    handshake_ago: float | None, written_ago: float | None, stale: bool
) -> None:
    peer = replace(
        PEER,
        last_handshake=0.0 if handshake_ago is None else NOW - handshake_ago,
        endpoint_written=0.0 if written_ago is None else NOW - written_ago,
    )
    assert is_stale(peer, NOW) is stale


def test_an_address_of_this_machine_s_own_is_no_way_to_another() -> None:
    bridge, there = (Endpoint(ip_address(one), 54540) for one in ("172.17.0.1", "10.0.0.2"))
    assert elsewhere((bridge, there), {bridge.address}) == (there,)
    assert elsewhere((bridge,), {bridge.address}) == (bridge,)
