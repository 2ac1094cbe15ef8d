"""Forwarding is switched on where it must be, and set back, also by the agent after a killed one."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path

import pytest

from wgmesh_agent.linux.ip_forwarding import ForwardingPurpose, IPForwarding
from wgmesh_agent.runtime import checksummed_file
from wgmesh_agent.wireguard.model import Network

TUNNEL = "wgblue"
MESH, SITE, OTHER = (ip_network(one) for one in ("10.232.0.0/16", "192.168.7.0/24", "192.168.8.0/24"))
OFF = {"all": "0", "wgblue": "0", "lan0": "0", "lan1": "1", "eth0": "0"}


class Exits:
    """In place of routing rules: where what comes out of the tunnel may go; None: there are no rules."""

    def __init__(self) -> None:
        self.allowed: set[Network] | None = None

    def is_restricted(self, name: str) -> bool:
        assert name == TUNNEL
        return self.allowed is not None

    def restrict_forwarding(self, name: str, networks: Iterable[Network], /, *, only_add: bool) -> None:
        self.allowed = set(networks) | ((self.allowed or set()) if only_add else set())

    def lift_restriction(self, name: str) -> None:
        self.allowed = None


@pytest.fixture
def net(tmp_path: Path) -> Path:
    for name, value in OFF.items():
        folder = tmp_path / "net/ipv4/conf" / name
        folder.mkdir(parents=True)
        (folder / "forwarding").write_text(f"{value}\n")
    (tmp_path / "net/ipv6/conf/all").mkdir(parents=True)
    (tmp_path / "net/ipv6/conf/all/forwarding").write_text("0\n")
    return tmp_path / "net"


@pytest.fixture
def exits() -> Exits:
    return Exits()


def values(net: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text().strip() for path in net.glob("ipv4/conf/*/forwarding")}


def agent(tmp_path: Path, net: Path, exits: Exits) -> IPForwarding:
    return IPForwarding(tmp_path, TUNNEL, exits, net)


def test_a_gateway_forwards_between_two_interfaces_and_out_of_the_tunnel_to_its_networks_only(
    net: Path, tmp_path: Path, exits: Exits
) -> None:
    agent(tmp_path, net, exits).require(ForwardingPurpose.GATEWAY, [SITE], ["lan0"])
    assert values(net) == OFF | {"wgblue": "1", "lan0": "1"}
    assert exits.allowed == {SITE}


def test_a_gateway_that_is_a_relay_too_lets_out_what_either_needs(
    net: Path, tmp_path: Path, exits: Exits
) -> None:
    forwarding = agent(tmp_path, net, exits)
    forwarding.require(ForwardingPurpose.RELAY, [MESH])
    forwarding.require(ForwardingPurpose.GATEWAY, [SITE], ["lan0"])
    assert exits.allowed == {MESH, SITE}
    forwarding.require(ForwardingPurpose.RELAY)
    assert exits.allowed == {SITE}
    assert values(net) == OFF | {"wgblue": "1", "lan0": "1"}


def test_what_was_switched_on_goes_back_and_what_was_on_stays(
    net: Path, tmp_path: Path, exits: Exits
) -> None:
    agent(tmp_path, net, exits).require(ForwardingPurpose.GATEWAY, [SITE, OTHER], ["lan0", "lan1"])
    successor = agent(tmp_path, net, exits)
    successor.require(ForwardingPurpose.RELAY)
    successor.require(ForwardingPurpose.GATEWAY, [OTHER], ["lan1"])
    assert values(net) == OFF | {"wgblue": "1"}
    successor.require(ForwardingPurpose.GATEWAY)
    assert values(net) == OFF
    assert exits.allowed is None


def test_what_an_earlier_life_let_pass_stays_until_both_roles_have_spoken(
    net: Path, tmp_path: Path, exits: Exits
) -> None:
    first = agent(tmp_path, net, exits)
    first.require(ForwardingPurpose.GATEWAY, [SITE], ["lan0"])
    first.require(ForwardingPurpose.RELAY, [MESH])
    second = agent(tmp_path, net, exits)
    second.require(ForwardingPurpose.RELAY, [MESH])
    assert exits.allowed == {MESH, SITE}
    assert values(net) == OFF | {"wgblue": "1", "lan0": "1"}
    second.require(ForwardingPurpose.GATEWAY)
    assert exits.allowed == {MESH}
    assert values(net) == OFF | {"wgblue": "1"}


def test_a_machine_that_forwards_from_the_tunnel_anyway_is_left_as_it_is(
    net: Path, tmp_path: Path, exits: Exits
) -> None:
    (net / "ipv4/conf/wgblue/forwarding").write_text("1\n")
    forwarding = agent(tmp_path, net, exits)
    for networks in ((MESH,), ()):
        forwarding.require(ForwardingPurpose.RELAY, networks)
        forwarding.require(ForwardingPurpose.GATEWAY)
        assert values(net) == OFF | {"wgblue": "1"}
        assert exits.allowed is None


def test_an_interface_made_anew_forwards_again(net: Path, tmp_path: Path, exits: Exits) -> None:
    forwarding = agent(tmp_path, net, exits)
    forwarding.require(ForwardingPurpose.RELAY, [MESH])
    (net / "ipv4/conf/wgblue/forwarding").write_text("0\n")
    forwarding.require(ForwardingPurpose.RELAY, [MESH])
    assert values(net)["wgblue"] == "1"


def test_where_the_note_is_lost_the_rules_tell_that_the_tunnel_was_opened(
    net: Path, tmp_path: Path, exits: Exits
) -> None:
    agent(tmp_path, net, exits).require(ForwardingPurpose.RELAY, [MESH])
    (tmp_path / "forwarding.json").write_text("{")
    successor = agent(tmp_path, net, exits)
    for role in ForwardingPurpose:
        successor.require(role)
    assert values(net) == OFF
    assert exits.allowed is None


def test_an_interface_that_is_gone_hinders_nothing(net: Path, tmp_path: Path, exits: Exits) -> None:
    agent(tmp_path, net, exits).require(ForwardingPurpose.GATEWAY, [SITE], ["nosuch"])
    assert values(net)["wgblue"] == "1"


def test_ipv6_is_left_alone_and_said(net: Path, tmp_path: Path, exits: Exits) -> None:
    forwarding, networks = agent(tmp_path, net, exits), [ip_network("fd00:7::/64")]
    assert "net.ipv6.conf.all.forwarding=1" in (forwarding.why_not(networks) or "")
    assert forwarding.why_not([SITE]) is None
    forwarding.require(ForwardingPurpose.GATEWAY, networks, ["lan0"])
    assert values(net) == OFF
    assert (net / "ipv6/conf/all/forwarding").read_text() == "0\n"


def somebody_switches_all(net: Path, value: str) -> None:
    """As `ip_forward` does, of which `all` is another name."""
    for path in net.glob("ipv4/conf/*/forwarding"):
        path.write_text(f"{value}\n")


ON = dict.fromkeys(OFF, "1")


def test_what_somebody_switched_on_for_the_whole_machine_since_stays_on(
    net: Path, tmp_path: Path, exits: Exits
) -> None:
    forwarding = agent(tmp_path, net, exits)
    forwarding.require(ForwardingPurpose.GATEWAY, [SITE], ["lan0"])
    forwarding.require(ForwardingPurpose.RELAY, [MESH])
    somebody_switches_all(net, "1")
    forwarding.require(ForwardingPurpose.GATEWAY)
    forwarding.require(ForwardingPurpose.RELAY)
    assert values(net) == ON
    assert exits.allowed is None


def test_it_stays_on_also_where_the_route_is_taken_away_by_a_restart_without_it(
    net: Path, tmp_path: Path, exits: Exits
) -> None:
    agent(tmp_path, net, exits).require(ForwardingPurpose.GATEWAY, [SITE], ["lan0"])
    somebody_switches_all(net, "1")
    successor = agent(tmp_path, net, exits)
    successor.require(ForwardingPurpose.RELAY)
    successor.require(ForwardingPurpose.GATEWAY)
    assert values(net) == ON
    assert exits.allowed is None


def test_a_machine_that_forwarded_before_gets_its_one_interface_back(
    net: Path, tmp_path: Path, exits: Exits
) -> None:
    (net / "ipv4/conf/all/forwarding").write_text("1\n")
    forwarding = agent(tmp_path, net, exits)
    forwarding.require(ForwardingPurpose.GATEWAY, [SITE], ["lan0"])
    forwarding.require(ForwardingPurpose.RELAY)
    forwarding.require(ForwardingPurpose.GATEWAY)
    assert values(net) == OFF | {"all": "1"}


def test_whoever_switched_on_and_off_again_leaves_it_to_us(net: Path, tmp_path: Path, exits: Exits) -> None:
    forwarding = agent(tmp_path, net, exits)
    forwarding.require(ForwardingPurpose.RELAY)
    forwarding.require(ForwardingPurpose.GATEWAY, [SITE], ["lan0"])
    somebody_switches_all(net, "1")
    somebody_switches_all(net, "0")
    forwarding.require(ForwardingPurpose.GATEWAY, [SITE], ["lan0"])
    assert values(net)["lan0"] == "1"
    forwarding.require(ForwardingPurpose.GATEWAY)
    assert values(net)["lan0"] == "0"


def test_a_note_of_an_earlier_release_is_read(net: Path, tmp_path: Path, exits: Exits) -> None:
    (net / "ipv4/conf/lan0/forwarding").write_text("1\n")
    checksummed_file.save(tmp_path / "forwarding.json", ["lan0"])
    successor = agent(tmp_path, net, exits)
    for role in ForwardingPurpose:
        successor.require(role)
    assert values(net) == OFF


def test_who_comes_after_it_was_withdrawn_switches_nothing_on(
    net: Path, tmp_path: Path, exits: Exits
) -> None:
    """A thread continues when the task that awaits it is cancelled."""
    forwarding = agent(tmp_path, net, exits)
    forwarding.require(ForwardingPurpose.GATEWAY, [SITE], ["lan0"])
    forwarding.withdraw()
    forwarding.require(ForwardingPurpose.GATEWAY, [SITE], ["lan0"])
    forwarding.again()
    assert values(net) == OFF
    assert exits.allowed is None
