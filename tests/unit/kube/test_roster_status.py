"""What a node is to the roster: it leaves for what was surely done to it, and stays through what cannot be right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.kube.harness import mesh_body, node_body

from wgmesh_agent.kube.roster_status import RosterSnapshot, RosterStatus, roster_status
from wgmesh_api.roster import read_mesh, read_node

OWN = read_node(node_body())
OTHER = read_node(node_body("beta", 2))
MESH = read_mesh(mesh_body())
WHOLE = RosterSnapshot(True, MESH, False, {"alpha": OWN, "beta": OTHER}, OWN)
WITHOUT = replace(WHOLE, nodes={"beta": OTHER}, own=None)
EMPTY = replace(WHOLE, nodes={}, own=None)
GOING = read_mesh(mesh_body(deleting=True))
DELETED = read_node(node_body(deleting=True))


@pytest.mark.parametrize(
    ("roster", "expected"),
    [
        (replace(WHOLE, listed=False), RosterStatus.UNKNOWN),
        (replace(EMPTY, listed=False, mesh=None), RosterStatus.UNKNOWN),
        (WHOLE, RosterStatus.MEMBER),
        (replace(WHOLE, mesh=None), RosterStatus.MEMBER),
        (replace(WHOLE, own=DELETED), RosterStatus.DELETED),
        (WITHOUT, RosterStatus.UNLISTED),
        (replace(EMPTY, mesh=None, mesh_gone=True), RosterStatus.UNLISTED),
        (replace(EMPTY, mesh=GOING), RosterStatus.UNLISTED),
        (EMPTY, RosterStatus.UNCERTAIN),
        (replace(EMPTY, mesh=None), RosterStatus.UNCERTAIN),
        (replace(WITHOUT, own_unreadable=True), RosterStatus.UNCERTAIN),
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
def test_a_node_s_standing(roster: RosterSnapshot, expected: RosterStatus) -> None:
    assert roster_status(roster, OWN.uid) is expected


def test_a_member_made_anew_under_the_same_name_is_another() -> None:
    assert roster_status(WHOLE, "uid-before") is RosterStatus.REPLACED
    assert roster_status(replace(WHOLE, own=DELETED), "uid-before") is RosterStatus.REPLACED


def test_who_does_not_know_by_which_object_it_is_a_member_goes_by_the_one_that_is_there() -> None:
    assert roster_status(WHOLE, "") is RosterStatus.MEMBER
    assert roster_status(replace(WHOLE, own=DELETED), "") is RosterStatus.DELETED
