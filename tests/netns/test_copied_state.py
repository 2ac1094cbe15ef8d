"""A machine made from a copy of another's disk: it enters as itself, or is refused; the original loses nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.mesh_harness import eventually, has_interface, lab_mesh

from wgmesh_agent.lab.agent import Agent
from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh

pytestmark = pytest.mark.netns
MACHINE_ID = Path("/etc/machine-id")


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(3) as mesh:
        yield mesh


def clone_of(mesh: Mesh, node: str, name: str) -> Host:
    """A host with a copy of the node's disk and, as clones should have, a machine id of its own."""
    clone = mesh.network.add_host(name)
    own = mesh.network.folder / f"{name}.machine-id"
    own.write_text(f"{name}{'0' * 32}"[:32] + "\n")
    clone.run(["mount", "--bind", str(own), str(MACHINE_ID)])
    shutil.copytree(mesh.network.hosts[node].disk, clone.disk, dirs_exist_ok=True)
    return clone


needs_machine_id = pytest.mark.skipif(not MACHINE_ID.exists(), reason="this machine has no /etc/machine-id")


@needs_machine_id
def test_a_copy_with_the_original_s_certificate_is_refused_while_that_lives(mesh: Mesh) -> None:
    clone = clone_of(mesh, "n3", "copy")
    address = mesh.mesh_address("n3")
    agent = Agent(clone, mesh.agents["n3"].arguments, socket=mesh.socket)
    agent.start()
    assert agent.wait(60) == 1
    assert "state of another machine quarantined" in agent.said()
    assert "the member n3 is alive on another machine" in agent.said()
    assert not has_interface(clone)
    assert list((clone.disk / mesh.name).glob("of-another-machine-*/wireguard.key"))
    assert mesh.ping_address("n1", address, count=10).lost == 0


@needs_machine_id
def test_a_copy_with_a_certificate_of_its_own_enters_as_itself(mesh: Mesh) -> None:
    clone = clone_of(mesh, "n3", "n5")
    address = mesh.mesh_address("n3")
    agent = mesh.join("n5")
    info = agent.wait_until_ready()
    mesh.wait_until_full()
    assert info.nodeName == "n5"
    assert info.pubkey != mesh.agents["n3"].info().pubkey
    assert mesh.ping_address("n1", address, count=10).lost == 0
    # And it is itself from now on.
    agent.kill()
    agent.start()
    again = agent.wait_until_ready()
    assert (again.pubkey, again.meshIPs) == (info.pubkey, info.meshIPs)
    assert len(list((clone.disk / mesh.name).glob("of-another-machine-*"))) == 1


@needs_machine_id
def test_a_copy_of_the_founder_founds_no_second_mesh(mesh: Mesh) -> None:
    clone = clone_of(mesh, "n1", "second")
    agent = Agent(clone, mesh.agents["n1"].arguments, socket=mesh.socket)
    for _ in range(2):
        agent.start()
        assert agent.wait(60) == 1
        assert "would found a second one" in agent.said()
    assert not has_interface(clone)


def test_another_name_than_the_remembered_one_is_told_with_what_to_do(mesh: Mesh) -> None:
    agent = mesh.agents["n2"]
    agent.kill()
    arguments = ["n7" if one == "n2" else one for one in agent.arguments]
    renamed = Agent(agent.host, arguments, socket=mesh.socket)
    renamed.start()
    assert renamed.wait(60) == 1
    said = renamed.said().splitlines()[-1]
    assert "start it as n2 and run `wgmesh leave`" in said
    assert f"/var/lib/wgmesh/{mesh.name}" in said
    agent.start()
    agent.wait_until_ready()
    eventually(lambda: not mesh.ping("n1", "n2").lost, 20, "it goes on as before")
