"""`wgmesh doctor` explains links that are broken each in a way of its own, all seen from n1 in one run."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.netns.doctor_harness import block, doctor, finding_of
from tests.netns.mesh_harness import eventually, lab_mesh, status, wgmesh

from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
BROKEN = {"n2", "n3", "n4", "n5", "n6", "n9"}
NODES = 10


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(NODES) as mesh:
        eventually(lambda: not bad(mesh), 40, lambda: f"all links are up both ways, not {bad(mesh)}")
        # A path that is found narrow in the first search is no fault; one that becomes so after it is.
        eventually(
            lambda: mesh.members("n1")["n7"].pathMTU == mesh.agents["n1"].info().mtu,
            40,
            "n1 has found that full packets pass to n7",
        )
        yield mesh


def bad(mesh: Mesh) -> set[str]:
    """The members that n1 does not hear, or that do not hear n1."""
    return {
        name
        for name, member in mesh.members("n1").items()
        if not member.isLocalNode and not (member.receiving and member.peerReceiving)
    }


@pytest.fixture(scope="module")
def before(mesh: Mesh) -> tuple[int, str]:
    """What it says while nothing is broken."""
    done = wgmesh(mesh.network.hosts["n1"], "doctor")
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def document(mesh: Mesh, before: tuple[int, str]) -> dict[str, Any]:
    """What it says once everything is broken."""
    network, hosts = mesh.network, mesh.network.hosts
    one = network.address("n1")
    inside = mesh.mesh_address("n1")
    hosts["n1"].run(["ip", "route", "add", "blackhole", f"{network.address('n2')}/32"])
    # wireguard-go names the interface that packets leave by, and Linux then sends them even without a route.
    network.cut("n2", "n1", one_way=True)
    block(hosts["n3"], f"ip saddr {one} udp dport 54540 reject")
    network.cut("n4", "n1", one_way=True)
    network.cut("n1", "n5", one_way=True)
    block(hosts["n6"], f"ip saddr {inside} udp dport 7947 drop")
    block(hosts["n7"], f"ip saddr {one} udp dport 54540 ip length > 1300 drop")
    block(hosts["n8"], f"ip saddr {inside} tcp dport 7946 drop")
    hosts["n9"].kill()
    eventually(lambda: bad(mesh) == BROKEN, 40, lambda: f"{BROKEN} are bad, not {bad(mesh)}")
    eventually(lambda: status(mesh, "n1", "n9") == "failed", 40, "n9 is failed")
    code, document = doctor(hosts["n1"])
    assert code == 1
    return document


def test_it_says_that_all_is_well_and_exits_0(before: tuple[int, str]) -> None:
    code, said = before
    assert code == 0, said
    assert said.startswith("No problems found: 9 of 9 links of n1 are up; inspected: ")


def test_no_route_to_the_endpoint(document: dict[str, Any]) -> None:
    finding = finding_of(document, "n2", "no_route")
    assert "10.0.0.2:54540" in finding["seen"]


def test_a_port_that_is_closed(document: dict[str, Any]) -> None:
    finding = finding_of(document, "n3", "port_closed")
    assert "10.0.0.3:54540" in finding["seen"]
    assert "Connection refused" in finding["seen"]


def test_packets_that_do_not_reach_the_peer(document: dict[str, Any]) -> None:
    assert (
        finding_of(document, "n4", "filtered")["what"] == "WireGuard packets are lost from this node to n4."
    )


def test_packets_of_the_peer_that_do_not_come(document: dict[str, Any]) -> None:
    assert (
        finding_of(document, "n5", "filtered")["what"] == "WireGuard packets are lost from n5 to this node."
    )


def test_probes_that_are_dropped_when_they_leave_the_tunnel(document: dict[str, Any]) -> None:
    assert "behind the tunnel at n6" in finding_of(document, "n6", "filtered_inside")["what"]


def test_large_packets_that_do_not_pass(document: dict[str, Any]) -> None:
    assert "1440 bytes" in finding_of(document, "n7", "mtu")["seen"]


def test_gossip_that_is_blocked_inside_the_tunnel(document: dict[str, Any]) -> None:
    assert "TCP port 7946" in finding_of(document, "n8", "gossip_blocked")["seen"]


def test_a_member_that_is_off(document: dict[str, Any]) -> None:
    assert "cannot reach it either" in finding_of(document, "n9", "peer_down")["seen"]


def test_each_has_its_own_cause_and_no_other(document: dict[str, Any]) -> None:
    codes = {one["about"]: one["code"] for one in document["findings"]}
    assert len(codes) == len(document["findings"]) == 8, document["findings"]
    assert document["links"]["bad"] == len(BROKEN)


def test_a_good_link_is_said_to_be_so_in_the_middle_of_it(mesh: Mesh, document: dict[str, Any]) -> None:
    code, one = doctor(mesh.network.hosts["n1"], "n10")
    assert (code, one["findings"], one["links"]["lookedAt"]) == (0, [], ["n10"])


def test_a_member_that_there_is_not_is_told_in_a_sentence(mesh: Mesh) -> None:
    done = wgmesh(mesh.network.hosts["n1"], "doctor", "nobody")
    assert done.returncode == 1
    assert done.stderr == "wgmesh: nothing was inspected: this mesh has no member 'nobody'\n"
