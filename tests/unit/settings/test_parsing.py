"""From text to values, and the complaints about text that has none."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.settings import parsing
from wgmesh_agent.settings.model import BackendChoice, HostPort, ListenAddress
from wgmesh_agent.settings.table import SETTINGS
from wgmesh_api.addresses import is_usable_host

BOOTSTRAPS = parsing.host_ports(5000)


@pytest.mark.parametrize("text", ["1", "true", "TRUE", "t", "on", "yes"])
def test_what_go_and_yaml_call_true_is_true(text: str) -> None:
    assert parsing.boolean(text) is True


@pytest.mark.parametrize("text", ["0", "false", "F", "off", "no"])
def test_what_go_and_yaml_call_false_is_false(text: str) -> None:
    assert parsing.boolean(text) is False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1:5001", [HostPort("10.0.0.1", 5001)]),
        ("10.0.0.1", [HostPort("10.0.0.1", 5000)]),
        ("[fd00::1]:7", [HostPort("fd00::1", 7)]),
        ("[fd00::1]", [HostPort("fd00::1", 5000)]),
        ("fd00::1", [HostPort("fd00::1", 5000)]),
        ("boot-1.example.org:80", [HostPort("boot-1.example.org", 80)]),
        ("boot", [HostPort("boot", 5000)]),
        ("a:1, b ,a:1", [HostPort("a", 1), HostPort("b", 5000)]),
    ],
)
def test_bootstrap_nodes_are_named_by_address_or_name_with_or_without_port(
    text: str, expected: list[HostPort]
) -> None:
    assert BOOTSTRAPS(text) == tuple(expected)


@given(
    st.one_of(
        st.ip_addresses().map(str), st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z]{1,5}){0,2}", fullmatch=True)
    ),
    st.integers(1, 65535),
)
def test_a_printed_host_and_port_reads_back_as_itself(host: str, port: int) -> None:
    written = HostPort(host, port)
    assert BOOTSTRAPS(str(written)) == (HostPort(host_without_mapping(host), port),)


def host_without_mapping(host: str) -> str:
    if not host.startswith("::ffff:"):
        return host
    return str(IPv6Address(host).ipv4_mapped or host)


@pytest.mark.parametrize(
    ("text", "wanted"), [("::ffff:192.0.2.11", "192.0.2.11"), ("::ffff:c000:20b", "192.0.2.11")]
)
def test_an_ipv4_mapped_address_of_a_setting_is_the_ipv4_address(text: str, wanted: str) -> None:
    assert parsing.listen_address(text).address == ip_address(wanted)
    assert parsing.address(text) == ip_address(wanted)
    assert BOOTSTRAPS(f"[{text}]:5000") == (HostPort(wanted, 5000),)


@pytest.mark.parametrize("text", ["::ffff:127.0.0.1", "255.255.255.255", "240.0.0.1", "0.0.0.1", "fe80::1"])
def test_a_listen_address_that_others_cannot_reach_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="can reach"):
        parsing.listen_address(text)


@pytest.mark.parametrize("text", ["::ffff:10.232.0.0/112", "fe80::%eth0/64"])
def test_a_range_in_other_clothes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="range"):
        parsing.ranges(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.7", ListenAddress(address=IPv4Address("192.0.2.7"))),
        ("2001:db8::7", ListenAddress(address=IPv6Address("2001:db8::7"))),
        ("eth0", ListenAddress(interface="eth0")),
        ("eth0%1", ListenAddress(interface="eth0", index=1)),
        ("enp3s0.100%0", ListenAddress(interface="enp3s0.100", index=0)),
    ],
)
def test_a_listen_address_is_an_address_an_interface_or_one_of_its_addresses(
    text: str, expected: ListenAddress
) -> None:
    assert parsing.listen_address(text) == expected
    assert str(parsing.listen_address(text)) == text


def test_routes_are_networks_of_either_version_and_allowed_ones_name_their_node() -> None:
    site, six = ip_network("192.168.7.0/24"), ip_network("fd07::/48")
    assert parsing.routes("192.168.7.0/24, fd07::/48") == (site, six)
    assert parsing.allowed_routes("gate1=192.168.7.0/24,gate1=fd07::/48") == (("gate1", site), ("gate1", six))


def test_ranges_are_cut_to_their_prefix_and_may_be_one_of_each_version() -> None:
    assert parsing.ranges("10.9.8.7/16,fd00::1/64") == (ip_network("10.9.0.0/16"), ip_network("fd00::/64"))


def test_zero_seconds_is_for_ever() -> None:
    assert parsing.seconds("0") is None
    assert parsing.seconds("1.5") == 1.5


def test_a_gossip_key_is_32_bytes_in_base64() -> None:
    key = bytes(range(32))
    assert parsing.encryption_key(base64.b64encode(key).decode()) == key


@pytest.mark.parametrize("text", ["c2VjcmV0", "not base64!" * 4, base64.b64encode(bytes(31)).decode()])
def test_a_wrong_gossip_key_does_not_come_back_in_the_complaint(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parsing.encryption_key(text)
    assert text not in str(caught.value)


def test_an_owner_is_two_numbers() -> None:
    assert parsing.owner("0:1000") == (0, 1000)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parsing.boolean, "maybe"),
        (parsing.mesh_name, "elevenchars"),
        (parsing.mesh_name, "a-b"),
        (parsing.node_name, "-x"),
        (parsing.node_name, ".."),
        (parsing.node_name, "x" * 65),
        (parsing.port, "0"),
        (parsing.port, "65536"),
        (parsing.port, "-1"),
        (parsing.port, "5٠"),
        (parsing.port, "0x10"),
        (parsing.seconds, "-1"),
        (parsing.seconds, "nan"),
        (parsing.one_of(BackendChoice), "windows"),
        (parsing.path, "a\0b"),
        (parsing.socket_path, "/" + "x" * 107),
        (parsing.owner, "root:root"),
        (parsing.owner, "1"),
        (parsing.owner, "4294967295:0"),
        (parsing.address, "10.0.0"),
        (parsing.address, "fe80::1%eth0"),
        (parsing.addresses, "10.0.0.1,"),
        (parsing.routes, "192.168.7.0"),
        (parsing.routes, "192.168.7.1/24"),
        (parsing.routes, "0.0.0.0/0"),
        (parsing.routes, "224.0.0.0/8"),
        (parsing.routes, "192.168.0.0/16,192.168.7.0/24"),
        (parsing.allowed_routes, "192.168.7.0/24"),
        (parsing.allowed_routes, "gate 1=192.168.7.0/24"),
        (parsing.allowed_routes, "gate1=192.168.7.0/24,"),
        (parsing.ranges, "10.232.0.0"),
        (parsing.ranges, "10.232.0.0/33"),
        (parsing.ranges, "10.232.0.0/31"),
        (parsing.ranges, "0.0.0.0/0"),
        (parsing.ranges, "224.0.0.0/8"),
        (parsing.ranges, "10.0.0.0/16,10.1.0.0/16"),
        (parsing.listen_address, "0.0.0.0"),
        (parsing.listen_address, "127.0.0.1"),
        (parsing.listen_address, "fe80::1"),
        (parsing.listen_address, "10.0.0.999"),
        (parsing.listen_address, "interface-too-long"),
        (parsing.listen_address, "eth0%x"),
        (parsing.listen_address, "eth 0"),
        (BOOTSTRAPS, ""),
        (BOOTSTRAPS, ":5000"),
        (BOOTSTRAPS, "a:b"),
        (BOOTSTRAPS, "a:"),
        (BOOTSTRAPS, "10.0.0.256:1"),
        (BOOTSTRAPS, "fd00::1:5000:zz"),
        (BOOTSTRAPS, "[fd00::1]5000"),
        (BOOTSTRAPS, "[10.0.0.1]:5000"),
        (BOOTSTRAPS, "a b"),
    ],
)
def test_text_without_a_meaning_is_refused(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


@given(st.sampled_from(SETTINGS), st.text(min_size=1))
def test_any_text_is_either_read_or_refused(setting: object, text: str) -> None:
    parse = setting.parse  # type: ignore[attr-defined]
    with contextlib.suppress(ValueError):
        parse(text)


def test_the_first_and_the_last_address_of_an_ipv4_range_are_nobodys() -> None:
    network = ip_network("10.0.0.0/24")
    assert is_usable_host(ip_address("10.0.0.254"), network)
    assert not is_usable_host(ip_address("10.0.0.0"), network)
    assert not is_usable_host(ip_address("10.0.0.255"), network)
    assert not is_usable_host(ip_address("10.0.1.1"), network)
    assert not is_usable_host(ip_address("fd00::1"), network)
