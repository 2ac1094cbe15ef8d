from __future__ import annotations

import math
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import DecodeError, GossipError, PeerError
from wgmesh_agent.gossip.wire.coordinate import (
    HEIGHT_MIN,
    MAX_PLACE_SECONDS,
    Coordinate,
    CoordinateClient,
    decode_coordinate,
    encode_coordinate,
)
from wgmesh_agent.gossip.wire.packing import pack

NUMBERS = st.floats(-MAX_PLACE_SECONDS, MAX_PLACE_SECONDS)
AXES = st.lists(NUMBERS, min_size=8, max_size=8).map(tuple)
COORDINATES = st.builds(Coordinate, AXES, NUMBERS, NUMBERS, st.floats(0, MAX_PLACE_SECONDS))
START = {"Vec": [0.0] * 8, "Error": 1.5, "Adjustment": 0.0, "Height": 1e-5}


@given(COORDINATES)
def test_every_coordinate_within_bounds_comes_back(coordinate: Coordinate) -> None:
    assert decode_coordinate(encode_coordinate(coordinate)) == coordinate


@given(st.binary(max_size=200))
def test_any_payload_is_a_coordinate_or_the_peers_error(payload: bytes) -> None:
    for data in (payload, b"\x01" + payload):
        with suppress(PeerError):
            assert decode_coordinate(data).is_valid()


@given(st.lists(st.tuples(COORDINATES, st.floats(0, 10)), max_size=8))
def test_no_coordinate_of_a_peer_makes_ours_invalid(steps: list[tuple[Coordinate, float]]) -> None:
    client = CoordinateClient(random.Random(1))
    for other, rtt in steps:
        assert client.update("peer", other, rtt).is_valid()
        client.distance_to(other)


@pytest.mark.parametrize(
    "fields",
    [
        {"Vec": [0.0] * 7},
        {"Vec": [0.0] * 9},
        {"Vec": None},
        {"Vec": [math.nan, *[0.0] * 7]},
        {"Error": math.inf},
        {"Adjustment": -math.inf},
        {"Height": math.nan},
        {"Height": b"1"},
        {"Height": -0.1},
        {"Vec": [1e10, *[0.0] * 7]},
        {"Vec": [0.0] * 7 + [-1e200]},
        {"Height": 121.0},
        {"Error": 1e308},
    ],
)
def test_a_coordinate_of_other_dimensions_or_out_of_bounds_is_refused(fields: dict[str, object]) -> None:
    assert decode_coordinate(b"\x01" + pack(START)) == Coordinate()
    with pytest.raises(DecodeError):
        decode_coordinate(b"\x01" + pack({**START, **fields}))


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x02" + pack(START)])
def test_a_payload_of_another_version_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError, match="version"):
        decode_coordinate(payload)


def test_integers_and_single_floats_are_read() -> None:
    payload = pack({**START, "Vec": [0] * 8, "Error": 1})
    assert decode_coordinate(b"\x01" + payload).error == 1.0


def test_coincident_nodes_move_apart_in_a_random_direction_and_keep_their_height() -> None:
    one, other = (CoordinateClient(random.Random(seed)).update("peer", Coordinate(), 0.1) for seed in (1, 2))
    assert one.vec != other.vec
    assert math.isclose(math.hypot(*one.vec), math.hypot(*other.vec))
    assert one.height == HEIGHT_MIN


def test_the_same_seed_gives_the_same_coordinate() -> None:
    one, other = (CoordinateClient(random.Random(5)).update("peer", Coordinate(), 0.1) for _ in range(2))
    assert one == other


def test_one_slow_answer_among_fast_ones_is_filtered_out() -> None:
    def after(rtts: list[float]) -> Coordinate:
        client = CoordinateClient(random.Random(1), Coordinate((0.05, *[0.0] * 7)))
        for rtt in rtts:
            client.update("peer", Coordinate((-0.05, *[0.0] * 7)), rtt)
        return client.coordinate

    assert after([0.1, 0.1, 9.0]) == after([0.1, 0.1, 0.1])


def test_a_forgotten_node_starts_its_filter_anew() -> None:
    client = CoordinateClient(random.Random(1), Coordinate((0.05, *[0.0] * 7)))
    fresh = CoordinateClient(random.Random(1), Coordinate((0.05, *[0.0] * 7)))
    other = Coordinate((-0.05, *[0.0] * 7))
    for each in (client, fresh):
        each.update("peer", other, 0.1)
        each.update("peer", other, 0.1)
    client.forget("peer")
    client.forget("unknown")
    assert client.update("peer", other, 5.0) != fresh.update("peer", other, 5.0)


@pytest.mark.parametrize("rtt", [-0.001, 10.001, math.nan, math.inf])
def test_a_round_trip_out_of_bounds_is_our_error_and_moves_nothing(rtt: float) -> None:
    client = CoordinateClient(random.Random(1))
    with pytest.raises(GossipError, match="round trip"):
        client.update("peer", Coordinate(), rtt)
    with pytest.raises(GossipError, match="coordinate"):
        client.update("peer", Coordinate(vec=(0.0,)), 0.1)
    assert client.coordinate == Coordinate()


def test_a_coordinate_driven_out_of_bounds_returns_to_the_start() -> None:
    client = CoordinateClient(random.Random(1), Coordinate((MAX_PLACE_SECONDS, *[0.0] * 7)))
    client.update("peer", Coordinate((MAX_PLACE_SECONDS - 1, *[0.0] * 7)), 10.0)
    assert client.resets == 1
    assert client.coordinate == Coordinate()


@given(COORDINATES, COORDINATES)
def test_round_trips_between_any_coordinates_fit_the_numbers_they_are_told_in(
    one: Coordinate, other: Coordinate
) -> None:
    assert 0 <= round(one.distance_to(other) * 1e6) < 2**31


def test_estimates_approach_the_real_distances_of_a_small_network() -> None:
    rng = random.Random(11)
    places = {f"n{i}": (rng.uniform(0, 0.1), rng.uniform(0, 0.1)) for i in range(10)}
    clients = {name: CoordinateClient(random.Random(i)) for i, name in enumerate(places)}
    for _ in range(4000):
        here, there = rng.sample(sorted(places), 2)
        rtt = math.dist(places[here], places[there]) + 0.001
        clients[here].update(there, clients[there].coordinate, rtt)
    errors = [
        abs(clients[a].distance_to(clients[b].coordinate) - math.dist(places[a], places[b]) - 0.001)
        for a in places
        for b in places
        if a < b
    ]
    assert sorted(errors)[len(errors) // 2] < 0.005
