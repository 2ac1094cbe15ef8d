"""`wgmesh_agent.wireguard.model`."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.wireguard.devices import KEYS, OWN

from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer, Endpoint, InterfaceSpec


@given(st.ip_addresses(), st.integers(1, 65535))
def test_an_endpoint_survives_its_text(address: object, port: int) -> None:
    endpoint = Endpoint(ip_address(str(address)), port)
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("1.2.3.4:51820", "1.2.3.4", 51820),
        ("[::1]:51820", "::1", 51820),
        ("[fe80::1%2]:1", "fe80::1%2", 1),
    ],
)
def test_endpoints_are_written_as_usual(text: str, address: str, port: int) -> None:
    assert Endpoint.parse(text) == Endpoint(ip_address(address), port)
    assert str(Endpoint.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:0",
        "1.2.3.4:65536",
        "1.2.3.4:+1",
        "1.2.3.4: 1",
        "1.2.3.4:٣",
        "::1:51820",
        "[1.2.3.4]:5",
        "[::1]",
        "[::1]5",
        "host:5",
        "1.2.3:5",
        "[::1:5",
        "1.2.3.4:000001",
    ],
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Endpoint.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_an_endpoint_or_a_value_error(text: str) -> None:
    try:
        assert Endpoint.parse(str(Endpoint.parse(text))) == Endpoint.parse(text)
    except ValueError:
        return


@pytest.mark.parametrize("port", [-1, 65536])
def test_ports_have_16_bits(port: int) -> None:
    with pytest.raises(ValueError, match="port"):
        Endpoint(ip_address("192.0.2.1"), port)
    with pytest.raises(ValueError, match="port"):
        DesiredDevice(OWN, port)


@pytest.mark.parametrize("keepalive", [-1, 65536])
def test_a_keepalive_has_16_bits(keepalive: int) -> None:
    with pytest.raises(ValueError, match="keepalive"):
        DesiredPeer(KEYS[0], frozenset(), (), keepalive)


def test_a_range_or_a_peer_cannot_be_desired_twice() -> None:
    one = frozenset({ip_network("10.1.0.0/16")})
    with pytest.raises(ValueError, match="one range"):
        DesiredDevice(OWN, 0, (DesiredPeer(KEYS[0], one), DesiredPeer(KEYS[1], one)))
    with pytest.raises(ValueError, match="twice"):
        DesiredDevice(OWN, 0, (DesiredPeer(KEYS[0], one), DesiredPeer(KEYS[0], frozenset())))


@pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a" * 16, "wg mesh", "wg\n", "wg%d", "wgé"])
def test_names_that_are_no_interfaces_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="interface name"):
        InterfaceSpec(name, (), (), 1420)


@pytest.mark.parametrize("mtu", [0, 67, 65536])
def test_an_mtu_has_bounds(mtu: int) -> None:
    with pytest.raises(ValueError, match="MTU"):
        InterfaceSpec("wgtest", (), (), mtu)


def test_ipv6_needs_an_mtu_of_1280() -> None:
    four, six = ip_interface("10.232.1.1/32"), ip_interface("fd32::1/128")
    assert InterfaceSpec("wgtest", (four,), (), 1279).mtu == 1279
    with pytest.raises(ValueError, match="1280"):
        InterfaceSpec("wgtest", (four, six), (), 1279)
    with pytest.raises(ValueError, match="1280"):
        InterfaceSpec("wgtest", (four,), (ip_network("fd32::/64"),), 1279)
