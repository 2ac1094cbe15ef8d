"""Cuts in one direction, or between two members only."""

import time
from collections.abc import Iterator

import pytest
from tests.netns.mesh_harness import eventually, lab_mesh, status, stays, wireguard

from wgmesh_agent.lab.mesh import Mesh

pytestmark = pytest.mark.netns
NODES = ["n1", "n2", "n3", "n4"]
WHOLE_SECONDS = 10.0
VOUCHED_FOR_SECONDS = 10.0


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(len(NODES)) as mesh:
        yield mesh


def peers(mesh: Mesh) -> list[set[str]]:
    return [set(wireguard(mesh.network.hosts[node]).tunnels) for node in NODES]


@pytest.mark.slow
def test_a_node_that_nobody_hears_is_failed_and_comes_back(mesh: Mesh) -> None:
    before = peers(mesh)
    for other in NODES[:3]:
        mesh.network.cut(other, "n4", one_way=True)
    eventually(
        lambda: all(status(mesh, n, "n4") == "failed" for n in NODES[:3]), 40, "n4 is failed everywhere"
    )
    assert peers(mesh) == before
    for other in NODES[:3]:
        mesh.network.heal(other)
    healed = time.monotonic()
    mesh.wait_until_full(seconds=WHOLE_SECONDS)
    eventually(
        lambda: not any(p.lost for p in mesh.ping_matrix(NODES).values()), WHOLE_SECONDS, "all pings answer"
    )
    assert time.monotonic() - healed <= WHOLE_SECONDS


def test_two_members_that_cannot_reach_each_other_but_all_others_stay_members(mesh: Mesh) -> None:
    mesh.network.cut("n2", "n3", one_way=True)
    try:
        assert mesh.ping("n2", "n3", count=2).received == 0
        stays(
            lambda: all(status(mesh, here, there) == "alive" for here in NODES for there in NODES),
            VOUCHED_FOR_SECONDS,
            "the others vouch for both",
        )
    finally:
        mesh.network.heal("n2")
    eventually(lambda: not mesh.ping("n2", "n3").lost, WHOLE_SECONDS, "n2 reaches n3 again")
