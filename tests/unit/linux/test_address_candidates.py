"""Which of a host's addresses are ways to it: those of cards that lead somewhere, the default route's first."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wgmesh_agent.linux.address_candidates import Card, Held, candidates, is_way_towards

ETH0, ETH1 = Card("eth0", 2), Card("eth1", 3)
HOME, SECOND = Held(2, ip_address("10.0.0.1"), 24), Held(3, ip_address("192.168.1.1"), 24)


def names(cards: list[Card], held: list[Held], *defaults: str) -> list[str]:
    return [str(address) for _, address in candidates(cards, held, [ip_address(one) for one in defaults])]


@pytest.mark.parametrize("kind", ["bridge", "dummy", "tun", "wireguard", "vxlan", "vrf", "ipip"])
def test_what_leads_to_this_host_alone_or_into_another_tunnel_is_no_way(kind: str) -> None:
    other = Held(3, ip_address("172.17.0.1"), 16)
    assert names([ETH0, Card("x", 3, kind)], [HOME, other]) == ["10.0.0.1"]


@pytest.mark.parametrize("kind", ["", "veth", "vlan", "bond", "macvlan"])
def test_cards_of_all_other_kinds_are_ways(kind: str) -> None:
    assert names([ETH0, Card("x", 3, kind)], [HOME, SECOND]) == ["10.0.0.1", "192.168.1.1"]


@pytest.mark.parametrize(
    "card",
    [Card("lo", 3, loopback=True), Card("eth1", 3, up=False), Card("eth1", 3, ours=True)],
    ids=["an address on the loopback", "a card that is down", "another mesh's"],
)
def test_an_address_that_takes_nothing_from_outside_is_no_way(card: Card) -> None:
    assert names([ETH0, card], [HOME, SECOND]) == ["10.0.0.1"]


def test_a_bridge_counts_that_has_the_default_route_or_a_card_for_a_port() -> None:
    bridge, address = Card("br0", 3, "bridge"), Held(3, ip_address("10.1.0.1"), 24)
    veth = Card("veth1", 4, "veth", master=3)
    assert names([bridge, veth], [address]) == []
    assert names([bridge, veth], [address], "10.1.0.1") == ["10.1.0.1"]
    assert names([bridge, Card("eno1", 4, master=3)], [address]) == ["10.1.0.1"]


def test_a_vpn_is_no_way_even_if_the_world_is_reached_by_it() -> None:
    vpn = Held(3, ip_address("10.8.0.2"), 24)
    for kind in ("tun", "wireguard"):
        assert names([ETH0, Card("vpn", 3, kind)], [vpn, HOME], "10.8.0.2") == ["10.0.0.1"]


def test_the_default_route_s_card_comes_first_and_its_source_before_all() -> None:
    more = Held(3, ip_address("192.168.1.7"), 24)
    assert names([ETH0, ETH1], [HOME, SECOND, more], "192.168.1.7") == [
        "192.168.1.7",
        "192.168.1.1",
        "10.0.0.1",
    ]


def test_a_virtual_address_beside_another_is_no_way() -> None:
    vip, vip6 = Held(2, ip_address("10.0.0.100"), 32), Held(2, ip_address("2001:db8::100"), 128)
    own6, leased = (
        Held(2, ip_address("2001:db8::1"), 64),
        Held(2, ip_address("2001:db8::7"), 128, lasting=False),
    )
    assert names([ETH0], [vip, HOME]) == ["10.0.0.1"]
    assert names([ETH0], [vip]) == ["10.0.0.100"]
    assert names([ETH0], [vip6, own6, leased]) == ["2001:db8::1", "2001:db8::7"]


def test_a_deprecated_address_is_the_last() -> None:
    old = Held(2, ip_address("2001:db8::1"), 64, deprecated=True)
    assert names([ETH0], [old, HOME]) == ["10.0.0.1", "2001:db8::1"]


@pytest.mark.parametrize(
    ("card", "defaults", "told"),
    [
        (Card("tun0", 3, "tun"), (), True),
        (Card("tun0", 3, "tun"), ("192.168.1.1",), False),
        (Card("virbr0", 3, "bridge"), (), True),
        (Card("wgred", 3, "tun", ours=True), (), False),
        (Card("wg0", 3, "wireguard"), (), False),
        (ETH1, (), True),
    ],
    ids=["a VPN to it", "a VPN to the world", "a bridge", "another mesh", "another WireGuard", "a card"],
)
def test_the_way_to_a_bootstrap_node_is_told_unless_it_lies_in_another_tunnel(
    card: Card, defaults: tuple[str, ...], told: bool
) -> None:
    world = [ip_address(one) for one in defaults]
    target = ip_address("192.168.1.9")
    assert is_way_towards(SECOND.address, target, [ETH0, card], [HOME, SECOND], world) == told


def test_a_bootstrap_node_s_address_that_this_host_has_itself_is_not_told() -> None:
    vip = Held(2, ip_address("10.0.0.100"), 24)
    assert not is_way_towards(vip.address, vip.address, [ETH0], [HOME, vip], [])
