"""One machine and several agents: one for a mesh, as many meshes as one likes."""

from collections.abc import Iterator

import pytest
from tests.netns.mesh_harness import has_interface, lab_mesh, wgmesh, wireguard

from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(2) as mesh:
        yield mesh


def second_agent(mesh: Mesh, *options: str) -> tuple[int, str]:
    """Status and last line of another `wgmesh join` in n2's host."""
    arguments = [
        "join",
        "-node-name",
        "n2",
        *mesh.join_tls("n2"),
        "-bootstrap-addr",
        mesh.service_address("n1"),
    ]
    done = wgmesh(mesh.network.hosts["n2"], *arguments, *options)
    return done.returncode, done.stderr.splitlines()[-1]


def test_a_second_agent_for_a_mesh_says_which_process_has_it_and_exits_1(mesh: Mesh) -> None:
    before = wireguard(mesh.network.hosts["n2"])
    status, said = second_agent(mesh, "-n", mesh.name, "-agent-grpc-bind-socket", "/run/other.sock")
    assert status == 1
    assert "another agent (process " in said
    assert said.endswith(f"already runs the mesh {mesh.name} on this machine")
    assert wireguard(mesh.network.hosts["n2"]) == before
    assert mesh.agents["n2"].info().nodeName == "n2"


def test_an_agent_whose_socket_another_answers_at_says_so_and_exits_1(mesh: Mesh) -> None:
    status, said = second_agent(mesh, "-n", "other")
    assert status == 1
    assert said == (
        "wgmesh: another agent answers at /run/wgmesh.sock: give this one another with -agent-grpc-bind-socket"
    ) or said.startswith("wgmesh: another agent answers at /var/run/wgmesh.sock")
    assert not has_interface(mesh.network.hosts["n2"], "wgother")


def test_two_meshes_live_on_the_same_hosts_with_other_ports_and_sockets(mesh: Mesh) -> None:
    two = Mesh(
        mesh.network,
        "two",
        options=("-listen-port", "54541"),
        bootstrap_options=("-cidr", "10.233.0.0/16", "-ip", "10.233.1.1"),
        socket="/run/two.sock",
        service_port=5001,
    )
    two.bootstrap("n1")
    two.join("n2")
    two.wait_until_full()
    assert not two.ping("n1", "n2").lost
    assert not mesh.ping("n1", "n2").lost
    assert two.mesh_address("n2").startswith("10.233.")
    assert wireguard(mesh.network.hosts["n2"], "wgtwo").tunnels.keys() == {two.agents["n1"].info().pubkey}
    assert wireguard(mesh.network.hosts["n2"]).tunnels.keys() == {mesh.agents["n1"].info().pubkey}
    assert wgmesh(mesh.network.hosts["n2"], "leave", "-agent-grpc-socket", "/run/two.sock").returncode == 0
    assert two.agents["n2"].wait() == 0
    assert not has_interface(mesh.network.hosts["n2"], "wgtwo")
    assert not mesh.ping("n1", "n2").lost
