"""Power failures: the interface is lost, the disk is kept, and the mesh recovers without a join."""

from collections.abc import Iterator

import pytest
from tests.netns.mesh_harness import eventually, has_interface, lab_mesh, saved_members, status, wireguard

from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
NODES = ["n1", "n2", "n3", "n4"]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(len(NODES)) as mesh:
        for node in NODES:
            everybody_else = set(NODES) - {node}
            eventually(lambda: saved_members(mesh, node) == everybody_else, 10, f"{node} remembers all")  # noqa: B023
        yield mesh


def identity(mesh: Mesh, node: str) -> tuple[str, str, int]:
    info = mesh.agents[node].info()
    return info.pubkey, info.meshIPs[0], info.nodeJoinTS


def admissions(mesh: Mesh) -> int:
    """How many joins the bootstrap node has admitted since its first start."""
    return mesh.agents["n1"].log.read_text().count("admitted")


def wait_until_pings_answer(mesh: Mesh, seconds: float = 10.0) -> None:
    eventually(lambda: not any(p.lost for p in mesh.ping_matrix(NODES).values()), seconds, "all pings answer")


def test_a_plain_node_is_back_after_a_power_cut_with_its_key_and_address(mesh: Mesh) -> None:
    before, joins = identity(mesh, "n3"), admissions(mesh)
    host = mesh.network.reboot("n3")
    assert not has_interface(host)
    mesh.agents["n3"].start()
    mesh.agents["n3"].wait_until_ready()
    took = mesh.wait_until_full(seconds=10)
    print(f"whole {took:.1f} s after the agent was ready")
    assert identity(mesh, "n3") == before
    assert admissions(mesh) == joins
    wait_until_pings_answer(mesh)


def test_a_node_that_lost_power_for_long_is_failed_meanwhile_and_comes_back_by_itself(mesh: Mesh) -> None:
    key = mesh.agents["n2"].info().pubkey
    mesh.network.hosts["n2"].kill()
    eventually(lambda: status(mesh, "n3", "n2") == "failed", 30, "n2 is noticed")
    assert key in wireguard(mesh.network.hosts["n3"]).tunnels
    mesh.network.reboot("n2")
    mesh.agents["n2"].start()
    mesh.agents["n2"].wait_until_ready()
    mesh.wait_until_full(seconds=15)
    wait_until_pings_answer(mesh)


@pytest.mark.parametrize("order", [["n4", "n3", "n2", "n1"], ["n2", "n1", "n4", "n3"]], ids="-".join)
def test_after_a_power_cut_of_all_hosts_the_mesh_is_whole_again_in_any_order_of_starts(
    mesh: Mesh, order: list[str]
) -> None:
    before, joins = [identity(mesh, node) for node in NODES], admissions(mesh)
    for node in NODES:
        mesh.network.hosts[node].kill()
    for node in NODES:
        mesh.network.reboot(node)
    up: set[str] = set()
    for node in order:
        mesh.agents[node].start()
        mesh.agents[node].wait_until_ready()
        up.add(node)
        # The running ones are fully connected before the next one starts, however long it takes to start.
        took = mesh.wait_until_full(up, seconds=20)
        print(f"{len(up)} up: whole after {took:.1f} s")
    assert [identity(mesh, node) for node in NODES] == before
    assert admissions(mesh) == joins
    wait_until_pings_answer(mesh)
