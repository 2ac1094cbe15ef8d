"""A member that moves is distinguished from two agents with one identity."""

from __future__ import annotations

from tests.unit.clock import TestClock

from wgmesh_agent.mesh.membership.endpoint_flaps import (
    MAX_MEMBERS,
    WINDOW_SECONDS,
    Calls,
    EndpointFlapDetector,
)
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint, Peer

HERE, THERE, ELSEWHERE = "192.0.2.1 1", "192.0.2.2 1", "192.0.2.3 1"


def told(*endpoints: str, every: float = 1.0) -> EndpointFlapDetector:
    wandering = EndpointFlapDetector()
    for place, endpoint in enumerate(endpoints):
        wandering.record("a", endpoint, place * every)
    return wandering


def test_who_stays_or_moves_on_does_not_return() -> None:
    assert told(HERE, HERE, HERE).flap_count("a", 3.0) == 0
    assert told(HERE, THERE, ELSEWHERE).flap_count("a", 3.0) == 0
    assert told().flap_count("a", 3.0) == 0


def test_two_that_contradict_each_other_return_again_and_again() -> None:
    assert told(*[HERE, THERE] * 5).flap_count("a", 10.0) == 8


def test_a_move_and_back_is_one_return() -> None:
    assert told(HERE, THERE, THERE, HERE).flap_count("a", 4.0) == 1


def test_what_is_ten_minutes_old_counts_no_more() -> None:
    wandering = told(*[HERE, THERE] * 5)
    assert wandering.flap_count("a", WINDOW_SECONDS + 20.0) == 0


def test_it_does_not_grow_without_bound() -> None:
    wandering = told(*[HERE, THERE] * 500)
    assert wandering.flap_count("a", 1000.0) <= 32
    for number in range(MAX_MEMBERS + 10):
        wandering.record(f"n{number}", HERE, 1.0)
    assert wandering.flap_count("a", 1000.0) == 0
    wandering.forget("n100000")


KEY = PublicKey(bytes([7]) * 32)


def called(*handshakes: tuple[str, float]) -> int:
    clock = TestClock(seconds=0.0)
    calls = Calls(clock)
    for place, (endpoint, handshake) in enumerate(handshakes):
        peer = Peer(KEY, Endpoint.parse(endpoint), last_handshake=handshake)
        clock.seconds = float(place)
        calls.observe(Device("wgtest", peers={KEY: peer}))
    return calls.flap_count(KEY)


def test_a_key_that_shakes_hands_from_two_places_in_turns_is_two_machines() -> None:
    here, there = "192.0.2.1:1", "192.0.2.2:1"
    assert called((here, 1.0), (there, 2.0), (here, 3.0), (there, 4.0), (here, 5.0)) == 3


def test_where_a_peer_is_sought_is_no_place_it_called_from() -> None:
    here, there = "192.0.2.1:1", "192.0.2.2:1"
    assert called((here, 1.0), (there, 1.0), (here, 1.0), (there, 1.0), (here, 1.0)) == 0
    assert called((here, 0.0), (there, 0.0), (here, 0.0), (there, 0.0), (here, 0.0)) == 0
