"""Cuts in the underlay: failed members keep their peers, and what heals below heals above by itself."""

import time
from collections.abc import Iterator

import pytest
from tests.netns.mesh_harness import eventually, lab_mesh, status, stays, wireguard

from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180), pytest.mark.slow]
SIDES = (("n1", "n2"), ("n3", "n4"))
NODES = [node for side in SIDES for node in side]
CUT_SECONDS = 60.0
WHOLE_SECONDS = 10.0


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_mesh(len(NODES)) as mesh:
        yield mesh


def peers(mesh: Mesh) -> list[set[str]]:
    return [set(wireguard(mesh.network.hosts[node]).tunnels) for node in NODES]


def is_split(mesh: Mesh) -> bool:
    """Whether each side has the other for failed and its own for alive."""
    return all(
        status(mesh, here, there) == ("alive" if (here in side) == (there in side) else "failed")
        for side in SIDES
        for here in side
        for there in NODES
    )


def test_a_partition_of_a_minute_is_whole_again_within_10_s_of_its_end(mesh: Mesh) -> None:
    before = peers(mesh)
    for here in SIDES[0]:
        for there in SIDES[1]:
            mesh.network.cut(here, there)
    eventually(lambda: is_split(mesh), 40, "both sides have the other for failed")
    stays(lambda: is_split(mesh), CUT_SECONDS, "the two sides are split")
    assert peers(mesh) == before
    assert not any(mesh.ping(*side).lost for side in SIDES)
    for node in NODES:
        mesh.network.heal(node)
    healed = time.monotonic()
    mesh.wait_until_full(seconds=WHOLE_SECONDS)
    eventually(
        lambda: not any(p.lost for p in mesh.ping_matrix(NODES).values()), WHOLE_SECONDS, "all pings answer"
    )
    took = time.monotonic() - healed
    print(f"whole {took:.1f} s after healing")
    assert took <= WHOLE_SECONDS
