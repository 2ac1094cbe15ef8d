"""Corrupt state: quarantined and reported, never overwritten silently, and the mesh keeps working."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.mesh_harness import Tunnel, eventually, lab_mesh, saved_members, state_file, wireguard

from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
NODES = ["n1", "n2", "n3"]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(len(NODES)) as mesh:
        yield mesh


@pytest.fixture
def stopped(mesh: Mesh) -> Mesh:
    """n3's agent is killed once it has written down what it knows."""
    eventually(lambda: saved_members(mesh, "n3") == {"n1", "n2"}, 10, "n3 remembers its peers")
    mesh.agents["n3"].kill()
    return mesh


def truncate(path: Path) -> bytes:
    """Leaves the first half of a file; answers that half."""
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)
    return half


def set_aside(path: Path) -> list[bytes]:
    """What was kept of a damaged file."""
    found = sorted(path.parent.glob(f"{path.name}.damaged-*"))
    contents = [kept.read_bytes() for kept in found]
    for kept in found:
        kept.unlink()
    return contents


def start(mesh: Mesh, node: str) -> None:
    mesh.agents[node].start()
    mesh.agents[node].wait_until_ready()


def tunnels_to(mesh: Mesh, address: str) -> dict[str, dict[str, Tunnel]]:
    """What all others hold for a mesh address, by key."""
    return {
        node: {
            key: tunnel
            for key, tunnel in wireguard(mesh.network.hosts[node]).tunnels.items()
            if f"{address}/32" in tunnel.allowed_ips
        }
        for node in NODES
        if mesh.agents[node].info().meshIPs[0] != address
    }


def test_a_plain_node_with_half_a_mesh_file_enters_again_under_its_address(stopped: Mesh) -> None:
    path = state_file(stopped, "n3", "mesh.json")
    address = "10.232.0." + stopped.members("n1")["n3"].addr.rpartition(".")[2]
    half = truncate(path)
    start(stopped, "n3")
    stopped.wait_until_full()
    assert stopped.mesh_address("n3") == address
    assert set_aside(path) == [half]
    assert "mesh.json is corrupt" in stopped.agents["n3"].said(20_000)


def test_a_node_with_half_a_member_snapshot_works_on_and_says_so(stopped: Mesh) -> None:
    path = state_file(stopped, "n3", "members.json")
    before = stopped.members("n1")["n3"]
    half = truncate(path)
    start(stopped, "n3")
    stopped.wait_until_full()
    assert stopped.agents["n3"].info().pubkey == before.pubkey
    assert set_aside(path) == [half]
    assert "members.json is corrupt" in stopped.agents["n3"].said(20_000)
    assert not any(pings.lost for pings in stopped.ping_matrix(NODES).values())


def test_a_node_whose_snapshots_are_all_damaged_enters_again_at_once(stopped: Mesh) -> None:
    before = stopped.members("n1")["n3"]
    halves = [truncate(state_file(stopped, "n3", name)) for name in ("members.json", "members.json.earlier")]
    start(stopped, "n3")
    stopped.wait_until_full(seconds=10)
    assert stopped.agents["n3"].info().pubkey == before.pubkey
    assert stopped.mesh_address("n3") == before.addr
    assert [
        set_aside(state_file(stopped, "n3", name)) for name in ("members.json", "members.json.earlier")
    ] == [[half] for half in halves]


def test_a_founder_with_half_a_member_snapshot_knows_its_members_from_the_one_before(mesh: Mesh) -> None:
    eventually(lambda: saved_members(mesh, "n1") == {"n2", "n3"}, 10, "n1 remembers its peers")
    path = state_file(mesh, "n1", "members.json")
    mesh.network.reboot("n1")
    half = truncate(path)
    start(mesh, "n1")
    mesh.wait_until_full(seconds=10)
    assert set_aside(path) == [half]
    eventually(lambda: not any(p.lost for p in mesh.ping_matrix(NODES).values()), 10, "all pings answer")


def test_a_founder_with_half_a_mesh_file_stops_with_a_sentence_and_keeps_the_file(mesh: Mesh) -> None:
    path = state_file(mesh, "n1", "mesh.json")
    agent = mesh.agents["n1"]
    agent.stop()
    whole = path.read_bytes()
    half = truncate(path)
    agent.start()
    assert agent.wait() == 1
    assert "wgmesh: /var/lib/wgmesh/lab/mesh.json is corrupt" in agent.said()
    assert "Traceback" not in agent.said()
    assert set_aside(path) == [half]
    path.write_bytes(whole)
    start(mesh, "n1")
    mesh.wait_until_full()


def everybody_holds(mesh: Mesh, address: str, key: str) -> None:
    """Waits until all others have this key, and no other, for a mesh address, and all pings answer."""
    eventually(
        lambda: all(list(held) == [key] for held in tunnels_to(mesh, address).values()),
        10,
        lambda: f"all hold {key} for {address}: {tunnels_to(mesh, address)}",
    )
    eventually(lambda: not any(p.lost for p in mesh.ping_matrix(NODES).values()), 10, "all pings answer")


def test_a_node_that_lost_its_key_is_admitted_anew_and_everybody_replaces_the_peer(stopped: Mesh) -> None:
    path = state_file(stopped, "n3", "wireguard.key")
    before = stopped.members("n1")["n3"]
    half = truncate(path)
    start(stopped, "n3")
    stopped.wait_until_full()
    after = stopped.agents["n3"].info()
    assert (after.nodeName, after.meshIPs[0]) == ("n3", before.addr)
    assert after.pubkey != before.pubkey
    assert set_aside(path) == [half]
    assert "wireguard.key is corrupt" in stopped.agents["n3"].said(20_000)
    everybody_holds(stopped, before.addr, after.pubkey)


def test_a_machine_set_up_anew_within_a_second_replaces_its_former_self_everywhere(mesh: Mesh) -> None:
    before = mesh.members("n1")["n2"]
    mesh.network.reboot("n2")
    shutil.rmtree(mesh.network.hosts["n2"].disk / "lab")
    start(mesh, "n2")
    mesh.wait_until_full(seconds=10)
    after = mesh.agents["n2"].info()
    assert (after.nodeName, after.meshIPs[0]) == ("n2", before.addr)
    assert after.pubkey != before.pubkey
    everybody_holds(mesh, before.addr, after.pubkey)


def test_a_founder_that_lost_its_key_is_known_again_by_its_certificate(mesh: Mesh) -> None:
    before = mesh.agents["n1"].info()
    mesh.agents["n1"].kill()
    truncate(state_file(mesh, "n1", "wireguard.key"))
    start(mesh, "n1")
    after = mesh.agents["n1"].info()
    assert after.pubkey != before.pubkey
    everybody_holds(mesh, before.meshIPs[0], after.pubkey)
    mesh.wait_until_full()
