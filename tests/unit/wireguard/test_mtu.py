"""`wgmesh_agent.wireguard.mtu`."""

from ipaddress import ip_address, ip_network

import pytest

from wgmesh_agent.wireguard.model import Route
from wgmesh_agent.wireguard.mtu import DEFAULT_BYTES, MAXIMUM_BYTES, path_routes, tunnel_mtu


@pytest.mark.parametrize(
    ("underlays", "mesh_version", "expected"),
    [
        ([(1500, 4)], 4, 1440),
        ([(1500, 6)], 4, 1420),
        ([(1500, 4), (1500, 6)], 4, 1420),
        ([(9001, 4), (1500, 4)], 4, 1440),
        ([(9001, 4)], 6, 8941),
        ([(1460, 4)], 6, 1400),
        ([(1300, 4)], 4, 1240),
        ([(1300, 4)], 6, 1280),
        ([(576, 4)], 4, 576),
        ([(65536, 4)], 4, MAXIMUM_BYTES),
        ([], 4, DEFAULT_BYTES),
        ([], 6, DEFAULT_BYTES),
    ],
)
def test_the_mtu_follows_the_thinnest_underlay_within_bounds(
    underlays: list[tuple[int, int]], mesh_version: int, expected: int
) -> None:
    assert tunnel_mtu(underlays, mesh_version=mesh_version) == expected


def test_every_address_of_a_narrow_peer_gets_a_route_of_its_own() -> None:
    one, two, six = ip_address("10.232.0.1"), ip_address("10.232.0.2"), ip_address("fd00::2")
    routes = path_routes({two: 1296, one: 1216}, {one: (one,), two: (two, six)})
    assert routes == (
        Route(ip_network(one), 1216),
        Route(ip_network(two), 1296),
        Route(ip_network(six), 1296),
    )


def test_ipv6_on_a_path_too_narrow_for_it_asks_for_smaller_segments() -> None:
    six = ip_address("fd00::2")
    assert path_routes({six: 1216}, {six: (six,)}) == (Route(ip_network(six), 1280, 1216 - 60),)


def test_a_peer_that_is_gone_gets_no_route() -> None:
    assert path_routes({ip_address("10.232.0.1"): 1216}, {}) == ()
