"""An external machine: one file, created by the operator's own code, and it is a member."""

import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.netns.cluster_mesh import ClusterMesh
from tests.netns.mesh_harness import (
    eventually,
    has_interface,
    lab_network,
    state_file,
    wgmesh,
    wireguard,
)
from tests.netns.mesh_harness import status as status_of
from tests.unit.mesh.join.bundle_fixtures import bundle_bytes, changed, make_authority

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def mesh() -> Iterator[ClusterMesh]:
    """The bootstrap node n1, the node n2, and n3 outside, which entered with a bundle."""
    with lab_network() as network:
        mesh = ClusterMesh(network)
        for node in ("n1", "n2", "n3", "n4"):
            network.add_host(node)
        mesh.bootstrap("n1")
        mesh.join("n2")
        file = bundle_file(mesh)
        file.touch(mode=0o600)
        file.write_bytes(mesh.bundle("n3"))
        mesh.enter("n3", file)
        mesh.wait_until_full()
        yield mesh


def bundle_file(mesh: ClusterMesh) -> Path:
    return mesh.network.folder / "bundle.json"


def test_one_file_makes_a_machine_a_member_that_all_reach(mesh: ClusterMesh) -> None:
    info = mesh.agents["n3"].info()
    assert (info.name, info.nodeName) == ("lab", "n3")
    assert info.gossipEncrypted
    for other in ("n1", "n2"):
        assert mesh.ping(other, "n3").lost == 0
        assert mesh.ping("n3", other).lost == 0


def test_it_starts_again_without_any_bootstrap_node_alive(mesh: ClusterMesh) -> None:
    mesh.agents["n1"].stop(signal.SIGTERM)
    try:
        agent = mesh.agents["n3"]
        agent.stop(signal.SIGTERM)
        agent.start()
        agent.wait_until_ready()
        mesh.wait_until_full({"n2", "n3"})
        assert mesh.ping("n2", "n3").lost == 0
    finally:
        mesh.agents["n1"].start()
        mesh.agents["n1"].wait_until_ready()
        mesh.wait_until_full()


def test_a_renewed_bundle_is_taken_up_while_it_runs_and_a_broken_one_is_not(mesh: ClusterMesh) -> None:
    file, agent = bundle_file(mesh), mesh.agents["n3"]
    whole = mesh.bundle("n3")
    file.write_bytes(whole[:600])
    eventually(
        lambda: "keeping the previous one" in agent.said(), 20, "the log says that the bundle is broken"
    )
    file.write_bytes(whole)
    eventually(lambda: "bundle reloaded" in agent.said(), 20, "the log says that the bundle was reloaded")
    assert mesh.ping("n2", "n3").lost == 0


def test_a_bundle_that_has_ended_is_wrong_use_for_a_machine_that_never_entered(mesh: ClusterMesh) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=800)
    file = mesh.network.folder / "ended.json"
    file.write_bytes(bundle_bytes(make_authority("lab", long_ago), mesh="lab", node="n4", now=long_ago))
    done = wgmesh(mesh.network.hosts["n4"], "join", "--bundle", str(file))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"wgmesh: the certificate in {file} expired on ")
    assert not has_interface(mesh.network.hosts["n4"])


def test_a_machine_that_has_entered_needs_its_bundle_no_more(mesh: ClusterMesh) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=800)
    agent, file = mesh.agents["n3"], bundle_file(mesh)
    before = state_file(mesh, "n3", "wireguard.key").read_bytes()
    agent.stop(signal.SIGTERM)
    whole = file.read_bytes()
    ended = bundle_bytes(make_authority("lab", long_ago), mesh="lab", node="n3", now=long_ago)
    file.write_bytes(changed(ended, addresses=None))
    try:
        agent.start()
        agent.wait_until_ready()
        mesh.wait_until_full()
        assert state_file(mesh, "n3", "wireguard.key").read_bytes() == before
        eventually(
            lambda: "certificate has expired" in agent.said(), 20, "the log says that the certificate ended"
        )
    finally:
        file.write_bytes(whole)


@pytest.mark.slow
def test_a_second_machine_with_the_same_bundle_is_refused_until_the_first_is_silent(
    mesh: ClusterMesh,
) -> None:
    before = wireguard(mesh.network.hosts["n3"]).public_key
    status, said = second_machine(mesh)
    assert status == 1
    assert "the member n3 is alive on another machine" in said
    assert not has_interface(mesh.network.hosts["n4"])
    assert mesh.ping("n2", "n3").lost == 0

    first = mesh.agents["n3"]
    first.kill()
    second = mesh.enter("n4", bundle_file(mesh), node="n4")
    try:
        second.wait_until_ready()
        eventually(lambda: status_of(mesh, "n2", "n3") == "alive", 20, "n2 has the second machine as n3")
        assert wireguard(mesh.network.hosts["n4"]).public_key != before
        eventually(lambda: mesh.ping("n2", "n4").lost == 0, 20, "n2 reaches the second machine")

        # The first comes back with its state: the second lives, so this one stays outside.
        first.start()
        eventually(
            lambda: "is alive on another machine" in first.said(), 60, "the first is told that it is too many"
        )
        assert mesh.ping("n2", "n4").lost == 0
    finally:
        second.stop(signal.SIGTERM)
        del mesh.agents["n4"]


def second_machine(mesh: ClusterMesh) -> tuple[int, str]:
    """Status and last words of a join with n3's bundle on n4's host."""
    done = wgmesh(
        mesh.network.hosts["n4"], "join", "--bundle", str(bundle_file(mesh)), "--backend", mesh.backend
    )
    return done.returncode, done.stderr.splitlines()[-1] if done.stderr else ""
