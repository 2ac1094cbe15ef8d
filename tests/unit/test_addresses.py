from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from wgmesh_api.addresses import is_usable_host


@pytest.mark.parametrize(
    ("address", "network", "expected"),
    [
        ("10.0.0.0", "10.0.0.0/24", False),
        ("10.0.0.1", "10.0.0.0/24", True),
        ("10.0.0.254", "10.0.0.0/24", True),
        ("10.0.0.255", "10.0.0.0/24", False),
        ("10.0.1.1", "10.0.0.0/24", False),
        ("fd00::", "fd00::/64", False),
        ("fd00::1", "fd00::/64", True),
        ("fd00::ffff:ffff:ffff:ffff", "fd00::/64", True),
        ("fd00::1", "10.0.0.0/24", False),
        ("10.0.0.1", "fd00::/64", False),
        ("10.0.0.0", "10.0.0.0/31", True),
        ("10.0.0.1", "10.0.0.0/31", True),
        ("10.0.0.0", "10.0.0.0/32", True),
        ("fd00::", "fd00::/127", True),
        ("10.0.0.3", "10.0.0.0/30", False),
    ],
)
def test_first_and_broadcast_addresses_are_not_usable(address: str, network: str, expected: bool) -> None:
    assert is_usable_host(ip_address(address), ip_network(network)) is expected


def test_address_with_a_zone_is_not_usable() -> None:
    assert not is_usable_host(ip_address("fd00::5%1"), ip_network("fd00::/64"))
