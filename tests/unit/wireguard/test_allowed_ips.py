"""`wgmesh_agent.wireguard.allowed_ips`."""

import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.wireguard.allowed_ips import AllowedIPIndex, merged
from wgmesh_agent.wireguard.model import Network


def index(**held: str) -> AllowedIPIndex[str]:
    """Owner to range."""
    found = AllowedIPIndex[str]()
    for owner, network in held.items():
        found.add(ip_network(network), owner)
    return found


@pytest.mark.parametrize(
    ("claimed", "owner"),
    [
        ("10.232.1.2/32", "a"),
        ("10.232.1.0/24", "a"),
        ("10.232.3.7/32", "b"),
        ("10.232.2.0/23", "b"),
        ("10.232.1.1/32", None),
        ("10.232.1.3/32", None),
        ("10.232.2.0/24", None),
        ("10.232.4.0/24", None),
        ("0.0.0.0/0", "a"),
    ],
)
def test_range_that_shares_an_address_is_found_with_its_owner(claimed: str, owner: str | None) -> None:
    found = index(b="10.232.3.0/24", a="10.232.1.2/32").overlapping(ip_network(claimed))
    assert (found[1] if found else None) == owner
    if found:
        assert found[0] in (ip_network("10.232.3.0/24"), ip_network("10.232.1.2/32"))


def test_last_address_of_a_range_belongs_to_it_and_the_next_does_not() -> None:
    held = index(a="10.1.0.0/31")
    assert held.overlapping(ip_network("10.1.0.1/32")) == (ip_network("10.1.0.0/31"), "a")
    assert held.overlapping(ip_network("10.1.0.2/32")) is None


def test_ranges_of_ipv6_are_compared_alike() -> None:
    held = index(a="fd00::/64")
    assert held.overlapping(ip_network("fd00::/16")) == (ip_network("fd00::/64"), "a")
    assert held.overlapping(ip_network("fd00:0:0:1::/64")) is None


def test_empty_index_has_no_overlap() -> None:
    assert index().overlapping(ip_network("0.0.0.0/0")) is None


networks: st.SearchStrategy[IPv4Network] = st.builds(
    lambda address, length: IPv4Network((address & (0xFFFFFFFF << (32 - length)), length)),
    st.integers(0x0AE80000, 0x0AE800FF),
    st.integers(22, 32),
)


@given(st.lists(networks, max_size=12))
def test_accepted_ranges_never_overlap_and_a_rejected_one_overlaps_what_is_named(
    claims: list[IPv4Network],
) -> None:
    held, accepted = AllowedIPIndex[int](), dict[int, IPv4Network]()
    for number, network in enumerate(claims):
        found = held.overlapping(network)
        if found is None:
            assert not any(network.overlaps(one) for one in accepted.values())
            held.add(network, number)
            accepted[number] = network
        else:
            assert accepted[found[1]] == found[0]
            assert network.overlaps(found[0])


def _addresses(ranges: Iterable[Network]) -> list[IPv4Address]:
    return sorted(one for network in ranges for one in network if isinstance(one, IPv4Address))


@given(st.lists(networks, max_size=6))
def test_merged_ranges_have_the_same_addresses_once_each(given_ranges: list[IPv4Network]) -> None:
    assert _addresses(merged(given_ranges)) == sorted(set(_addresses(given_ranges)))


def test_range_and_one_inside_it_merge_and_families_stay_apart() -> None:
    nested = [ip_network(one) for one in ("10.1.0.0/16", "10.1.1.0/24", "::/0", "fd00::/8", "10.2.0.0/16")]
    assert merged(nested) == [ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16"), ip_network("::/0")]


@pytest.mark.heavy
def test_five_thousand_ranges_are_compared_within_the_time_a_loop_can_spare() -> None:
    first = int(ip_address("10.232.0.0"))
    ranges = [ip_network(first + number) for number in range(5000)]
    held = AllowedIPIndex[int]()
    began = time.process_time()
    for number, network in enumerate(ranges):
        assert held.overlapping(network) is None
        held.add(network, number)
    assert time.process_time() - began < 0.5
    assert len(held.owners) == 5000
