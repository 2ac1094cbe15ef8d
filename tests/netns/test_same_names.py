"""Duplicate names: a reinstalled machine, and two meshes with the same node names on the same hosts."""

import shutil

import pytest
from tests.netns.mesh_harness import eventually, lab_mesh

from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300), pytest.mark.slow]


@pytest.mark.parametrize("keeps_state", [True, False], ids=["with its old state", "without it"])
def test_a_machine_that_is_installed_anew_under_its_name_is_that_member(keeps_state: bool) -> None:
    with lab_mesh(3) as mesh:
        before = mesh.agents["n2"].info()
        host = mesh.network.reboot("n2")
        if not keeps_state:
            shutil.rmtree(host.disk / mesh.name)
        agent = mesh.agents["n2"]
        agent.start()
        after = agent.wait_until_ready(120)
        mesh.wait_until_full()
        assert after.nodeName == "n2"
        assert (after.pubkey == before.pubkey) == keeps_state
        assert after.meshIPs == before.meshIPs
        for other in ("n1", "n3"):
            eventually(lambda: mesh.members(other)["n2"].pubkey == after.pubkey, 30, "its key is known")  # noqa: B023
            assert not mesh.ping(other, "n2", count=5).lost


def test_two_meshes_with_the_same_node_names_leave_each_other_alone() -> None:
    with lab_mesh(3, name="red", socket="/run/red.sock") as red:
        inside = ("-cidr", "10.77.0.0/16", "-ip", "10.77.0.1")
        blue = Mesh(
            red.network,
            "blue",
            socket="/run/blue.sock",
            service_port=5001,
            options=("-listen-port", "54541"),
            bootstrap_options=inside,
        )
        blue.bootstrap("n1")
        for name in ("n2", "n3"):
            blue.join(name)
        blue.wait_until_full()
        red.wait_until_full()
        for mesh, other in ((red, blue), (blue, red)):
            assert not mesh.ping("n1", "n2", count=5).lost
            assert mesh.mesh_address("n2") != other.mesh_address("n2")
        blue.agents["n2"].stop()
        assert not red.ping("n1", "n2", count=5).lost
