"""Where others reach this node, as it was told: an address, or one of an interface, and never one inside the mesh."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from wgmesh_agent.mesh.discovery.advertised_endpoint import (
    DEFAULT_UNDERLAY_MTU,
    NoUsableEndpoint,
    UnusableEndpoint,
    advertised_endpoint,
    has_route_to,
    underlay_mtu,
)
from wgmesh_agent.settings.model import HostPort, ListenAddress
from wgmesh_agent.wireguard.model import Endpoint

RANGES = (ip_network("10.232.0.0/16"),)
PORT = 54540


def told(text: str) -> ListenAddress:
    return ListenAddress(ip_address(text), None, None)


async def of(listen: ListenAddress | None, stun: HostPort | None = None) -> Endpoint:
    return await advertised_endpoint(listen, PORT, stun, (), RANGES)


async def test_an_address_that_was_set_is_the_endpoint() -> None:
    assert await of(told("192.0.2.7")) == Endpoint(ip_address("192.0.2.7"), PORT)
    assert await of(told("2001:db8::7")) == Endpoint(ip_address("2001:db8::7"), PORT)


@pytest.mark.parametrize("address", ["10.232.0.7", "127.0.0.1", "224.0.0.1", "0.0.0.0"])
async def test_an_address_at_which_nobody_can_reach_this_node_can_never_be_its_own(address: str) -> None:
    with pytest.raises(UnusableEndpoint, match=f"-listen-addr gives {address}, which lies inside"):
        await of(told(address))


async def test_an_interface_without_an_address_for_others_may_get_one() -> None:
    with pytest.raises(NoUsableEndpoint, match="lo of -listen-addr has no address that peers can reach"):
        await of(ListenAddress(None, "lo", None))
    with pytest.raises(NoUsableEndpoint, match="there is no interface 'nosuch0'"):
        await of(ListenAddress(None, "nosuch0", None))
    with pytest.raises(NoUsableEndpoint, match="requires one more"):
        await of(ListenAddress(None, "lo", 99))


async def test_an_address_of_an_interface_that_was_named_by_number_is_judged_as_one_that_was_set() -> None:
    with pytest.raises(UnusableEndpoint, match=r"gives (127\.0\.0\.1|::1), which lies inside"):
        await of(ListenAddress(None, "lo", 0))


@pytest.mark.heavy
async def test_a_stun_server_that_does_not_answer_is_said_with_what_to_set() -> None:
    with pytest.raises(NoUsableEndpoint, match=r"set -listen-addr, or another --stun-server"):
        await of(None, HostPort("127.0.0.1", 9))


async def test_the_mtu_below_is_that_of_the_interface_with_the_endpoint_else_the_usual_one() -> None:
    loopback = Endpoint(ip_address("127.0.0.1"), PORT)
    assert has_route_to(loopback.address)
    mtu, version = await underlay_mtu((), Endpoint(ip_address("2001:db8::7"), PORT))
    assert mtu >= 1280
    assert version in (4, 6)
    assert DEFAULT_UNDERLAY_MTU == 1500
