"""`wgmesh_agent.mesh.routing.mss_ruleset`: what `nft` is given."""

from ipaddress import ip_network

import pytest

from wgmesh_agent.mesh.routing.mss_ruleset import removal_ruleset, ruleset, table_name
from wgmesh_agent.wireguard.model import Route


def rules(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if "maxseg" in line]


def test_what_goes_in_is_held_to_its_route_and_what_comes_out_to_the_interface() -> None:
    syn = "tcp flags & (syn | rst) == syn tcp option maxseg size set"
    assert rules(ruleset("wgblue", 1440)) == [
        f'oifname "wgblue" {syn} rt mtu',
        f'iifname "wgblue" meta nfproto ipv4 {syn} 1400',
        f'iifname "wgblue" meta nfproto ipv6 {syn} 1380',
    ]


def test_what_comes_out_of_a_narrow_path_is_held_to_that() -> None:
    paths = [Route(ip_network("10.232.0.7/32"), 1216), Route(ip_network("fd00::7/128"), 1280, 1156)]
    narrow = rules(ruleset("wgblue", 1440, paths))[1:3]
    assert "ip saddr 10.232.0.7/32" in narrow[0]
    assert narrow[0].endswith("set 1176")
    assert "ip6 saddr fd00::7/128" in narrow[1]
    assert narrow[1].endswith("set 1156")


def test_only_the_table_of_this_interface_is_ever_named() -> None:
    for text in (ruleset("wgblue", 1440), removal_ruleset("wgblue")):
        named = [
            line.split()[3 if line.startswith(("add", "delete")) else 2]
            for line in text.splitlines()
            if " table " in f" {line}"
        ]
        assert set(named) == {"wgmesh-wgblue"}


def test_a_name_that_is_no_interface_s_reaches_nobody() -> None:
    with pytest.raises(ValueError, match="not an interface name"):
        table_name("x; flush ruleset")
