"""`wgmesh_agent.wireguard.mtu`."""

import pytest

from wgmesh_agent.wireguard.mtu import DEFAULT_BYTES, MAXIMUM_BYTES, tunnel_mtu


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
