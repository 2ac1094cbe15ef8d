"""A node gets another WireGuard key: no packet is lost, and neither a crash nor a member that is away is in its way."""

import os
import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.netns.mesh_harness import eventually, lab_mesh, pinging, state_file, wgmesh, wireguard

from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.wireguard.keys import PrivateKey

pytestmark = [pytest.mark.netns, pytest.mark.slow]
ALL_PAIRS = tuple((a, b) for a in ("n1", "n2", "n3") for b in ("n1", "n2", "n3") if a != b)
A_SECOND = 100


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(3) as mesh:
        yield mesh


def rotate(mesh: Mesh, node: str) -> subprocess.CompletedProcess[str]:
    return wgmesh(mesh.network.hosts[node], "keys", "rotate", "wireguard")


@pytest.mark.parametrize("node", ["n2", "n1"], ids=["a node", "the bootstrap node"])
def test_a_wireguard_key_is_changed_and_nothing_is_lost(mesh: Mesh, node: str) -> None:
    hosts, others = mesh.network.hosts, [name for name in ("n1", "n2", "n3") if name != node]
    old = wireguard(hosts[node]).public_key
    with pinging(mesh, *ALL_PAIRS, a_second=A_SECOND) as pings:
        done = rotate(mesh, node)
        new = wireguard(hosts[node]).public_key
        assert done.stdout == f"Rotated: 2 of 2 tunnels use the new WireGuard key {new}.\n", done
        assert new != old
        for other in others:
            tunnels = wireguard(hosts[other]).tunnels
            assert new in tunnels
            assert old not in tunnels
    longest = {(ping.name): ping.longest_pause() for ping in pings}
    print(f"lost {[ping.lost() for ping in pings]}; longest pauses in ms {longest}")
    assert [ping.lost() for ping in pings] == [0] * len(pings)
    eventually(lambda: mesh.members(others[0])[node].pubkey == new, 5, "it is shown")
    assert not state_file(mesh, node, "wireguard.key.earlier").exists()


@pytest.mark.parametrize(
    ("node", "seconds"), [("n2", 9.0), ("n1", 40.0)], ids=["a node", "the bootstrap node"]
)
def test_one_that_is_killed_with_a_new_key_before_anybody_knows_it_is_accepted_with_it(
    mesh: Mesh, node: str, seconds: float
) -> None:
    """A node proves its earlier key at once; a bootstrap node is asked by the others when they miss it."""
    agent, key_file = mesh.agents[node], state_file(mesh, node, "wireguard.key")
    agent.kill()
    new = PrivateKey.generate(os.urandom)
    state_file(mesh, node, "wireguard.key.earlier").write_bytes(key_file.read_bytes())
    key_file.write_text(new.to_base64())
    agent.start()
    agent.wait_until_ready(30)
    host = mesh.network.hosts[node]
    eventually(lambda: wireguard(host).public_key == str(new.public()), 10, "it uses the new key")
    others = [mesh.network.hosts[other] for other in mesh.agents if other != node]
    eventually(
        lambda: all(str(new.public()) in wireguard(other).tunnels for other in others),
        seconds,
        "all have it",
    )
    mesh.wait_until_full(seconds=40)
    eventually(
        lambda: not state_file(mesh, node, "wireguard.key.earlier").exists(),
        20,
        "the earlier one is forgotten",
    )
    assert all(mesh.ping(node, other).lost == 0 for other in mesh.agents if other != node)


def test_a_member_that_missed_a_new_wireguard_key_finds_it(mesh: Mesh) -> None:
    mesh.agents["n3"].kill()
    eventually(lambda: mesh.members("n2")["n3"].status == "failed", 30, "n3 has failed")
    done = rotate(mesh, "n2")
    new = wireguard(mesh.network.hosts["n2"]).public_key
    assert done.stdout == f"Rotated: 1 of 1 tunnels use the new WireGuard key {new}.\n", done
    started = time.monotonic()
    mesh.agents["n3"].start()
    eventually(lambda: new in wireguard(mesh.network.hosts["n3"]).tunnels, 20, "n3 has the new key")
    mesh.wait_until_full(seconds=20)
    print(f"found {time.monotonic() - started:.1f} s after its agent started")
