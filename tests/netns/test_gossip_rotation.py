"""The gossip key is rotated without interruption: no packet is lost, and a member that was down catches up."""

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest
from tests.netns.mesh_harness import eventually, lab_mesh, pinging, state_file, wgmesh

from wgmesh_agent.lab.agent import PROGRAM
from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
ALL_PAIRS = tuple((a, b) for a in ("n1", "n2", "n3") for b in ("n1", "n2", "n3") if a != b)
A_SECOND = 100


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(3) as mesh:
        yield mesh


def ring(mesh: Mesh, node: str) -> list[str]:
    """The gossip keys on a node's disk."""
    keys: list[str] = json.loads(state_file(mesh, node, "mesh.json").read_text())["content"]["gossipKeys"]
    return keys


def rotate(mesh: Mesh, node: str) -> subprocess.CompletedProcess[str]:
    return wgmesh(mesh.network.hosts[node], "keys", "rotate", "gossip")


def test_a_gossip_key_is_changed_on_all_members_and_nothing_is_lost(mesh: Mesh) -> None:
    old = ring(mesh, "n1")
    with pinging(mesh, *ALL_PAIRS, a_second=A_SECOND) as pings:
        done = rotate(mesh, "n2")
        assert not mesh.missing_links(set(mesh.agents))
    assert done.stdout == "Rotated: all 3 members use the new gossip key, and the old one is removed.\n"
    rings = [ring(mesh, node) for node in ("n1", "n2", "n3")]
    assert rings[0] == rings[1] == rings[2]
    assert len(rings[0]) == 1
    assert rings[0] != old
    assert [ping.lost() for ping in pings] == [0] * len(pings)


def test_a_member_that_was_away_meanwhile_gets_the_key_from_a_bootstrap_node(mesh: Mesh) -> None:
    with pinging(mesh, ("n1", "n3"), ("n3", "n2")) as pings:
        mesh.agents["n3"].kill()
        eventually(lambda: mesh.members("n2")["n3"].status == "failed", 30, "n3 has failed")
        done = rotate(mesh, "n2")
        assert "1 that are down get it from a bootstrap node when they return" in done.stdout, done
        assert ring(mesh, "n3") != ring(mesh, "n2")
        mesh.agents["n3"].start()
        took = mesh.wait_until_full(seconds=20)
    print(f"back with the new key {took:.1f} s after its start")
    assert ring(mesh, "n3") == ring(mesh, "n2")
    assert [ping.lost() for ping in pings] == [0, 0]


def test_members_that_were_cut_off_together_get_the_key_though_they_have_each_other(mesh: Mesh) -> None:
    for node in ("n2", "n3"):
        mesh.network.cut("n1", node)
    eventually(
        lambda: {mesh.members("n1")[node].status for node in ("n2", "n3")} == {"failed"}, 30, "n1 is alone"
    )
    assert rotate(mesh, "n1").returncode == 0
    for node in mesh.agents:
        mesh.network.heal(node)
    took = mesh.wait_until_full(seconds=30)
    print(f"whole with the new key {took:.1f} s after healing")
    assert ring(mesh, "n1") == ring(mesh, "n2") == ring(mesh, "n3")


def test_nothing_is_changed_while_the_bootstrap_node_is_away(mesh: Mesh) -> None:
    before = ring(mesh, "n2")
    mesh.agents["n1"].kill()
    eventually(lambda: mesh.members("n2")["n1"].status == "failed", 30, "n1 has failed")
    done = rotate(mesh, "n2")
    assert done.returncode == 1
    assert "n1 is a bootstrap node that is down; nothing was changed" in done.stderr
    assert ring(mesh, "n2") == before
    mesh.agents["n1"].start()
    mesh.wait_until_full()


def test_a_rotation_that_was_killed_in_the_middle_is_brought_to_its_end_by_the_next(mesh: Mesh) -> None:
    old = ring(mesh, "n2")
    command = mesh.network.hosts["n2"].popen([*PROGRAM, "keys", "rotate", "gossip"], subprocess.DEVNULL)
    eventually(lambda: len(ring(mesh, "n2")) == 2, 10, "the new key is installed")
    mesh.agents["n2"].kill()
    assert command.wait(20) != 0
    mesh.agents["n2"].start()
    mesh.wait_until_full()
    assert rotate(mesh, "n3").returncode == 0
    rings = [ring(mesh, node) for node in ("n1", "n2", "n3")]
    assert rings[0] == rings[1] == rings[2]
    assert len(rings[0]) == 1
    assert rings[0] != old


def test_one_that_cannot_keep_the_key_is_named_and_the_old_one_stays(mesh: Mesh) -> None:
    before = ring(mesh, "n1")
    host = mesh.network.hosts["n3"]
    host.run(["chattr", "+i", f"/var/lib/wgmesh/{mesh.name}"])
    try:
        done = rotate(mesh, "n1")
    finally:
        host.run(["chattr", "-i", f"/var/lib/wgmesh/{mesh.name}"])
    assert done.returncode == 1
    assert "n3 the keyring cannot be stored on disk" in done.stderr, done
    assert "the old key stays in use" in done.stderr
    assert all(ring(mesh, node) == before for node in ("n1", "n2", "n3"))
    assert mesh.agents["n3"].stop(signal.SIGTERM) == 0
    mesh.agents["n3"].start()
    mesh.wait_until_full()
