"""This machine: agent, WireGuard, interface, overlapping networks, files."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from tests.unit.diagnosis.fixtures import DAY, MACHINE, NOW, RANGE, codes, findings

from wgmesh_agent.diagnosis.doctor import diagnose
from wgmesh_agent.diagnosis.machine import CertificateFile, Hindrances, InterfaceState, LocalNetwork, Way

STATE = MACHINE.state
assert STATE is not None
WAY = Way("10.232.0.1", "ts0", "52", "5270: lookup 52")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"kernel_trouble": "no module"}, [("no_wireguard", "")]),
        ({"kernel_trouble": "no module", "userspace_trouble": ""}, []),
        (
            {"kernel_trouble": "no module", "userspace_trouble": "", "backend": "kernel"},
            [("no_wireguard", "")],
        ),
        ({"backend": "userspace"}, [("no_wireguard", "")]),
        ({"state": None}, [("interface_gone", "wgblue")]),
        ({"state": replace(STATE, up=False)}, [("interface_down", "wgblue")]),
        ({"state": replace(STATE, ours=False)}, [("interface_changed", "wgblue")]),
        ({"state": replace(STATE, routes=frozenset())}, [("interface_changed", "wgblue")]),
        ({"state": replace(STATE, addresses=frozenset())}, [("interface_changed", "wgblue")]),
        (
            {"certificates": (CertificateFile("/a.pem", "", NOW - DAY, NOW - 60),)},
            [("certificate", "/a.pem")],
        ),
        ({"certificates": (CertificateFile("/a.pem", "", NOW - DAY, NOW + DAY),)}, []),
        ({"certificates": (CertificateFile("/a.pem", "it cannot be read"),)}, [("certificate", "/a.pem")]),
        ({"hindrances": Hindrances((WAY,))}, [("route_taken", "10.232.0.1")]),
        ({"hindrances": Hindrances(forward_drops=("x",))}, [("forward_dropped", "wgblue")]),
        ({"hindrances": Hindrances(strict=True)}, [("rp_filter", "wgblue")]),
        (
            {"hindrances": Hindrances((WAY,)), "state": replace(STATE, up=False)},
            [("interface_down", "wgblue")],
        ),
        ({"ports_taken": ("UDP port 4789",)}, [("port_taken", "")]),
    ],
)
def test_each_fault_has_its_finding(changed: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert codes(findings(**changed)) == expected


@pytest.mark.parametrize(
    ("network", "connected", "overlaps"),
    [
        ("10.232.7.0/24", True, True),
        ("10.232.7.0/24", False, True),
        ("10.232.0.0/16", False, True),
        ("10.0.0.0/8", True, True),
        ("10.0.0.0/8", False, False),
        ("0.0.0.0/0", False, False),
        ("192.168.0.0/16", True, False),
        ("fd00::/8", True, False),
    ],
)
def test_networks_that_take_addresses_from_the_mesh_overlap(
    network: str, connected: bool, overlaps: bool
) -> None:
    local = LocalNetwork("eth1", ip_network(network), connected, of_mesh=False)
    assert codes(findings(networks=(local,))) == ([("address_overlap", "eth1")] if overlaps else [])


def test_another_mesh_is_called_one() -> None:
    (finding,) = findings(networks=(LocalNetwork("wgred", RANGE, False, of_mesh=True),))
    assert "of another mesh's interface wgred" in finding.problem


def test_without_an_agent_what_can_be_seen_is_told_in_the_order_of_mending() -> None:
    machine = replace(
        MACHINE,
        agent_trouble="no agent answers",
        agent_runs=False,
        kernel_trouble="none",
        state=None,
        ports_taken=("UDP port 54540",),
    )
    assert [code for code, _ in codes(diagnose(machine, None, None))] == [
        "agent_down",
        "no_wireguard",
        "port_taken",
        "interface_gone",
    ]


def test_an_agent_that_does_not_answer_is_not_taken_for_none() -> None:
    machine = replace(MACHINE, agent_trouble="the agent is of another version")
    assert codes(diagnose(machine, None, None)) == [("agent_silent", "")]


def test_a_machine_of_no_mesh_lacks_no_interface() -> None:
    machine = replace(MACHINE, interface="", state=None, ranges=(), addresses=())
    assert diagnose(machine, None, None) == []


def test_an_interface_state_is_compared_by_what_is_to_be_on_it() -> None:
    more = InterfaceState(
        True, True, frozenset({"10.232.1.1", "fe80::1"}), frozenset({RANGE, ip_network("10.9.0.0/24")})
    )
    assert findings(state=more) == []
