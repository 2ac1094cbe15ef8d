"""Several bootstrap nodes: any of them admits, any of them may be lost, and no address is given twice."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.mesh_harness import eventually, lab_network, saved_members, status, wireguard

from wgmesh_agent.lab.mesh import Mesh

pytestmark = pytest.mark.netns
JOINERS = 20
NOBODY = "10.0.0.200:5000"


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """n1 founded it; n2 joined by n1 and admits too."""
    with lab_network() as network:
        mesh = Mesh(network)
        for node in ("n1", "n2", "n3", "n4", "n5"):
            network.add_host(node)
        mesh.bootstrap("n1")
        mesh.bootstrap("n2", "-bootstrap-addr", mesh.service_address("n1"))
        mesh.wait_until_full()
        yield mesh


def test_a_second_bootstrap_node_is_a_member_and_is_marked_as_one(mesh: Mesh) -> None:
    for node in ("n1", "n2"):
        assert {member.nodeName: member.bootstrap for member in mesh.members(node).values()} == {
            "n1": True,
            "n2": True,
        }
    assert mesh.agents["n2"].info().meshIPs != mesh.agents["n1"].info().meshIPs


def test_a_joiner_passes_over_bootstrap_addresses_where_nobody_is(mesh: Mesh) -> None:
    refused = "10.0.0.3:5000"
    agent = mesh.join("n3", bootstraps=(NOBODY, refused, "n2"))
    agent.wait_until_ready(seconds=30)
    mesh.wait_until_full()
    said = agent.said(20_000)
    assert f"bootstrap={NOBODY}" in said
    assert f"bootstrap={refused}" in said


def test_a_second_bootstrap_node_admits_while_the_founder_is_dead(mesh: Mesh) -> None:
    mesh.network.hosts["n1"].kill()
    eventually(lambda: status(mesh, "n2", "n1") == "failed", 30, "n1 is noticed")
    agent = mesh.join("n4", bootstraps=("n1", "n2"))
    agent.wait_until_ready(seconds=30)
    mesh.wait_until_full({"n2", "n3", "n4"})
    addresses = [mesh.mesh_address(node) for node in ("n2", "n3", "n4")] + [mesh.members("n2")["n1"].addr]
    assert len(set(addresses)) == 4


def test_the_founder_comes_back_to_a_mesh_that_grew_without_it(mesh: Mesh) -> None:
    mesh.network.reboot("n1")
    mesh.agents["n1"].start()
    mesh.agents["n1"].wait_until_ready()
    mesh.wait_until_full(seconds=15)
    assert not any(pings.lost for pings in mesh.ping_matrix(["n1", "n2", "n3", "n4"]).values())


def test_the_founder_admits_again_and_all_learn_of_it(mesh: Mesh) -> None:
    mesh.join("n5", bootstraps=("n1",)).wait_until_ready()
    mesh.wait_until_full()


def test_two_bootstrap_nodes_that_admit_twenty_at_once_give_twenty_addresses_and_remember_them() -> None:
    with lab_network() as network:
        mesh = Mesh(network, tls=False)
        for node in ("n1", "n2", "crowd"):
            network.add_host(node)
        mesh.bootstrap("n1")
        mesh.bootstrap("n2", "-bootstrap-addr", mesh.service_address("n1"))
        mesh.wait_until_full()
        script = Path(__file__).with_name("joiners.py")
        services = [mesh.service_address(node) for node in ("n1", "n2")]
        command = [sys.executable, str(script), mesh.name, network.address("crowd"), str(JOINERS), *services]
        given = json.loads(network.hosts["crowd"].run(command).stdout)
        kept = saved_members(mesh, "n1") | saved_members(mesh, "n2")
        assert kept >= {f"j{number}" for number in range(JOINERS)}
        assert len(given) == len(set(given.values())) == JOINERS
        assert not set(given.values()) & {mesh.mesh_address("n1"), mesh.mesh_address("n2")}
        expected = {key: frozenset([f"{address}/32"]) for key, address in given.items()}

        def has_all(node: str) -> bool:
            tunnels = wireguard(network.hosts[node]).tunnels
            return expected.items() <= {key: tunnel.allowed_ips for key, tunnel in tunnels.items()}.items()

        eventually(lambda: has_all("n1") and has_all("n2"), 10, "both have a peer for each")
