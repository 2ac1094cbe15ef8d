"""Address allocation: unique, inside the range, shared among bootstrap nodes, and honest when there is none left."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.mesh.join.address_allocator import MAX_FOREIGN, AddressAllocator, RangeExhausted, Share

ALONE = Share("a", ("a",))


@given(st.integers(22, 30), st.integers(1, 40))
def test_every_allocation_is_free_and_a_host_of_the_range(prefix: int, count: int) -> None:
    network = ip_network(f"10.9.0.0/{prefix}")
    allocator = AddressAllocator([network])
    taken: set[IPv4Address | IPv6Address] = set()
    for _ in range(min(count, network.num_addresses - 2)):
        (address,) = allocator.allocate(taken.__contains__, ALONE)
        assert address not in taken
        assert address in network
        assert address not in (network.network_address, network.broadcast_address)
        taken.add(address)


def test_a_full_range_says_so() -> None:
    allocator = AddressAllocator([ip_network("10.9.0.0/30")])
    taken = {ip_address("10.9.0.1"), ip_address("10.9.0.2")}
    with pytest.raises(RangeExhausted, match=r"10\.9\.0\.0/30"):
        allocator.allocate(taken.__contains__, ALONE)


def test_each_range_gives_one_address() -> None:
    allocator = AddressAllocator([ip_network("10.9.0.0/24"), ip_network("fd00::/64")])
    assert allocator.allocate(lambda _: False, ALONE) == (ip_address("10.9.0.1"), ip_address("fd00::1"))


def test_a_freed_address_rests_before_it_is_used_again() -> None:
    allocator = AddressAllocator([ip_network("10.9.0.0/29")])
    first = allocator.allocate(lambda _: False, ALONE)
    assert allocator.allocate(lambda _: False, ALONE) != first


def test_bootstrap_nodes_that_cannot_ask_each_other_pick_apart() -> None:
    names = ("a", "b", "c")
    picked = []
    for name in names:
        allocator = AddressAllocator([ip_network("10.9.0.0/16")])
        own: set[IPv4Address | IPv6Address] = set()
        for _ in range(200):
            own.update(allocator.allocate(own.__contains__, Share(name, names)))
        picked.append(own)
    assert len(set.union(*picked)) == 600


def test_another_ones_share_is_used_when_the_own_is_full() -> None:
    share = Share("a", ("a", "b"))
    allocator = AddressAllocator([ip_network("10.9.0.0/28")])
    taken: set[IPv4Address | IPv6Address] = set()
    for _ in range(14):
        taken.update(allocator.allocate(taken.__contains__, share))
    assert len(taken) == 14


def test_the_search_for_an_own_share_ends_when_it_is_used_up() -> None:
    asked = 0

    def taken(_: object) -> bool:
        nonlocal asked
        asked += 1
        return False

    share = Share("none of them", ("a", "b"))
    AddressAllocator((ip_network("10.0.0.0/8"),)).allocate(taken, share)
    assert asked == MAX_FOREIGN


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("a", "b", "c")])
def test_each_address_is_in_the_share_of_one_bootstrap_node(names: tuple[str, ...]) -> None:
    holders = [
        [name for name in names if Share(name, names).holds(address)]
        for address in ip_network("10.9.0.0/24").hosts()
    ]
    assert {len(found) for found in holders} == {1}
    assert {found[0] for found in holders} == set(names)
