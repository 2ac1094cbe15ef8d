"""A node is lost, and with it the only bootstrap node and the operator: the mesh keeps working, grows, and releases it.

One loss for all tests here: its machine is stopped, and started at their end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from tests.kind.evidence import Measured
from tests.kind.kubectl import apply, get, kubectl, wait_for
from tests.kind.meshes import Mesh, mesh_body
from tests.kind.nodes import Node, wait_until_ready
from tests.kind.pinging import none_lost, pinging
from tests.kind.release import Release

LABEL = "e2e-lost"
TAKEN_OVER_SECONDS = 180
"""Kubernetes notices a dead node after about 50 s; the operator moves to another 30 s, the duty 60 s later."""
ENTERED_SECONDS = 90
GONE_SECONDS = 15
BACK_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Ground:
    """A mesh of two nodes, one of which was lost at `lost_at`; `newcomer` is not in it yet."""

    mesh: Mesh
    lost: Node
    survivor: Node
    newcomer: Node
    key: str
    lost_at: float


def select(*nodes: Node) -> None:
    kubectl("label", "nodes", *[node.name for node in nodes], f"{LABEL}=yes", "--overwrite")


@pytest.fixture(scope="module")
def blue(release: Release, nodes: list[Node]) -> Iterator[Mesh]:
    made = Mesh("blue")
    yield made
    bring_back(nodes)
    kubectl("label", "nodes", "--all", f"{LABEL}-")
    made.delete()


def bring_back(nodes: list[Node]) -> None:
    """Every machine runs, and is a node of the cluster."""
    for node in nodes:
        if not node.is_running():
            node.start()
    for node in nodes:
        wait_for(partial(get, "node", node.name), BACK_SECONDS, f"{node.name} is registered")
    wait_until_ready(nodes, BACK_SECONDS)


@pytest.fixture(scope="module")
def ground(blue: Mesh, release: Release, nodes: list[Node]) -> Ground:
    newcomer = nodes[0]
    (operator,) = release.operator_pods()
    lost = Node(operator["spec"]["nodeName"])
    (survivor,) = (node for node in nodes if node not in (newcomer, lost))
    # Alone at first, so that it is the one that admits others.
    select(lost)
    apply(mesh_body(blue.name, nodeSelector={LABEL: "yes"}, bootstrap={"replicas": 1}))
    blue.wait()
    select(survivor)
    wait_for(lambda: blue.status()["nodes"] == "2/2", ENTERED_SECONDS, "2/2", blue.status)
    blue.wait()
    assert admitting(blue) == {lost.name}
    key = blue.keys()[lost.name]
    lost_at = time.monotonic()
    lost.stop()
    return Ground(blue, lost, survivor, newcomer, key, lost_at)


def admitting(mesh: Mesh) -> set[str]:
    return {door["node"] for door in mesh.status()["bootstraps"]}


def test_another_node_admits_others_when_the_only_bootstrap_node_is_lost_and_the_operator_with_it(
    ground: Ground, measured: Measured, tmp_path: Path
) -> None:
    mesh, survivor, newcomer = ground.mesh, ground.survivor, ground.newcomer
    wait_for(
        lambda: admitting(mesh) == {survivor.name}, TAKEN_OVER_SECONDS, "another takes over", mesh.status
    )
    measured("the only bootstrap node lost until another is named", time.monotonic() - ground.lost_at)
    assert mesh.members()[survivor.name]["spec"]["bootstrap"] is True
    assert mesh.condition("Degraded")["status"] == "True"
    assert ground.lost.name in mesh.condition("Degraded")["message"]

    began = time.monotonic()
    select(newcomer)
    wait_for(
        lambda: mesh.members().get(newcomer.name, {}).get("status", {}).get("phase") == "Joined",
        ENTERED_SECONDS,
        f"{newcomer.name} is let in",
        mesh.members,
    )
    measured("a new node selected until it has joined by the new bootstrap node", time.monotonic() - began)
    with none_lost(tmp_path, measured, "a new node is there", mesh.pairs([survivor, newcomer])):
        wait_for(lambda: mesh.status()["nodes"] == "2/3", ENTERED_SECONDS, "2/3", mesh.status)
    # It may come back: those who hold it keep its peer until it is deleted.
    assert ground.key in mesh.peers(survivor.name)


def test_a_deleted_node_is_gone_everywhere_and_may_come_back_as_another(
    ground: Ground, measured: Measured, tmp_path: Path
) -> None:
    mesh, lost = ground.mesh, ground.lost
    select(ground.newcomer)
    rest = [ground.survivor, ground.newcomer]
    wait_for(
        lambda: all(node.name in mesh.pods("tunnel") for node in rest) and mesh.status()["nodes"] == "2/3",
        TAKEN_OVER_SECONDS + ENTERED_SECONDS,
        "the mesh has taken the loss",
        mesh.status,
    )
    with none_lost(tmp_path, measured, "another node is deleted", mesh.pairs(rest)):
        began = time.monotonic()
        kubectl("delete", "node", lost.name)
        wait_for(
            lambda: (
                lost.name not in mesh.members()
                and not any(ground.key in mesh.peers(node.name) for node in rest)
            ),
            ENTERED_SECONDS,
            f"{lost.name} is gone everywhere",
        )
        measured(
            "kubectl delete node until no node has its peer, and it no WgMeshNode",
            time.monotonic() - began,
            at_most=GONE_SECONDS,
        )
        mesh.wait()
        assert (mesh.status()["nodes"], mesh.status()["links"]) == ("2/2", "2/2")

    began = time.monotonic()
    bring_back([lost])
    select(lost)
    wait_for(lambda: mesh.status()["nodes"] == "3/3", BACK_SECONDS, "3/3", mesh.status)
    mesh.wait()
    measured("its machine switched on again until it is a member anew", time.monotonic() - began)
    assert ground.key not in mesh.keys().values()
    back = tmp_path / "back"
    back.mkdir()
    with pinging(back, *mesh.pairs([*rest, lost])):
        assert mesh.status()["links"] == "6/6"
