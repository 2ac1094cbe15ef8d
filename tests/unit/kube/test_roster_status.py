"""What a node is to the roster: it leaves for what was surely done to it, and stays through what cannot be right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.kube.harness import mesh_body, node_body

from wgmesh_agent.kube.roster_status import Roster, Standing, standing
from wgmesh_api.roster import read_mesh, read_node

OWN = read_node(node_body())
OTHER = read_node(node_body("beta", 2))
MESH = read_mesh(mesh_body())
WHOLE = Roster(True, MESH, False, {"alpha": OWN, "beta": OTHER}, OWN)
WITHOUT = replace(WHOLE, nodes={"beta": OTHER}, own=None)
EMPTY = replace(WHOLE, nodes={}, own=None)
GOING = read_mesh(mesh_body(deleting=True))
DELETED = read_node(node_body(deleting=True))


@pytest.mark.parametrize(
    ("roster", "expected"),
    [
        (replace(WHOLE, listed=False), Standing.UNKNOWN),
        (replace(EMPTY, listed=False, mesh=None), Standing.UNKNOWN),
        (WHOLE, Standing.MEMBER),
        (replace(WHOLE, mesh=None), Standing.MEMBER),
        (replace(WHOLE, own=DELETED), Standing.DELETED),
        (WITHOUT, Standing.ABSENT),
        (replace(EMPTY, mesh=None, mesh_gone=True), Standing.ABSENT),
        (replace(EMPTY, mesh=GOING), Standing.ABSENT),
        (EMPTY, Standing.DOUBTFUL),
        (replace(EMPTY, mesh=None), Standing.DOUBTFUL),
        (replace(WITHOUT, own_unreadable=True), Standing.DOUBTFUL),
    ],
    ids=[
        "not listed yet",
        "nothing listed yet",
        "listed",
        "the mesh is not known yet",
        "being deleted",
        "only others are listed",
        "nothing is left",
        "the mesh is going",
        "an empty roster of a mesh that is there",
        "an empty roster of a mesh that is not known",
        "not readable",
    ],
)
def test_a_node_s_standing(roster: Roster, expected: Standing) -> None:
    assert standing(roster, OWN.uid) is expected


def test_a_member_made_anew_under_the_same_name_is_another() -> None:
    assert standing(WHOLE, "uid-before") is Standing.REPLACED
    assert standing(replace(WHOLE, own=DELETED), "uid-before") is Standing.REPLACED


def test_who_does_not_know_by_which_object_it_is_a_member_goes_by_the_one_that_is_there() -> None:
    assert standing(WHOLE, "") is Standing.MEMBER
    assert standing(replace(WHOLE, own=DELETED), "") is Standing.DELETED
