from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_api.fields import IPAddress, IPNetwork
from wgmesh_operator.decisions.membership.addresses import RangeExhausted, allocate, capacity, usable

NETWORKS = st.one_of(
    st.builds(
        lambda base, length: IPv4Network((base, length), strict=False),
        st.integers(0, 2**32 - 1),
        st.integers(8, 30),
    ),
    st.builds(
        lambda base, length: IPv6Network((base, length), strict=False),
        st.integers(0, 2**128 - 1),
        st.integers(32, 126),
    ),
)
NAMES = st.text("abcdefghij-.0123456789", min_size=1, max_size=20)


@given(NETWORKS, st.lists(NAMES, unique=True, max_size=12))
def test_addresses_are_usable_and_nobody_elses(network: IPNetwork, names: list[str]) -> None:
    taken: set[IPAddress] = set()
    for name in names[: capacity(network)]:
        (address,) = allocate(name, [network], taken)
        assert usable(address, network)
        assert address not in taken
        taken.add(address)


@given(st.integers(26, 30), st.randoms(use_true_random=False))
def test_a_range_is_used_up_to_its_last_address(length: int, chance: object) -> None:
    network = IPv4Network(f"10.0.0.0/{length}")
    taken: set[IPAddress] = set()
    for number in range(capacity(network)):
        taken.update(allocate(f"node-{number}", [network], taken))
    assert taken == set(network.hosts())
    with pytest.raises(RangeExhausted, match=rf"10\.0\.0\.0/{length} has no address left"):
        allocate("late", [network], taken)


@given(NETWORKS, NAMES)
def test_a_name_gets_its_address_again(network: IPNetwork, name: str) -> None:
    assert allocate(name, [network], set()) == allocate(name, [network], set())


def test_each_range_gives_one_address() -> None:
    networks = [ip_network("10.232.0.0/16"), ip_network("fd00::/64")]
    four, six = allocate("blue.alpha", networks, set())
    assert (four.version, six.version) == (4, 6)


def test_a_full_range_of_any_size_is_noticed_at_once() -> None:
    huge = ip_network("fd00::/64")
    address = allocate("a", [huge], set())[0]
    assert allocate("a", [huge], {address})[0] == address + 1


@pytest.mark.parametrize(
    ("address", "is_usable"),
    [
        ("10.0.0.0", False),
        ("10.0.0.1", True),
        ("10.0.0.254", True),
        ("10.0.0.255", False),
        ("10.0.1.1", False),
    ],
)
def test_network_and_broadcast_addresses_are_nobodys(address: str, is_usable: bool) -> None:
    assert usable(IPv4Address(address), IPv4Network("10.0.0.0/24")) is is_usable
