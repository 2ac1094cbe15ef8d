"""Meshes are created, share nodes, shrink, grow and are deleted; and nothing is left of the deleted ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from tests.kind.evidence import Measured
from tests.kind.kubectl import apply, kubectl, wait_for
from tests.kind.meshes import SECOND_PORTS, Mesh, mesh_body
from tests.kind.nodes import Node
from tests.kind.pinging import none_lost, pinging
from tests.kind.release import Release
from tests.kind.residue import difference, objects_of, only_of, traces

CHOSEN = "e2e-chosen"
TOGETHER_SECONDS = 60
GONE_SECONDS = 20
INTERRUPTED_SECONDS = 40
"""For the teardown of a mesh whose pods are only just starting: they learn of it when they run."""
LEAVE_SECONDS = 30
ROTATED_SECONDS = 300
"""A kubelet takes up to a minute and a half to bring a changed Secret to a pod; then two minutes between handshakes."""
COLLECTED_SECONDS = 60
ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Ground:
    """Two meshes on the same nodes, the second of both families and with pre-shared keys; and the nodes as they were
    before.
    """

    nodes: list[Node]
    blue: Mesh
    green: Mesh
    before: dict[str, dict[str, Any]]
    seconds: float

    def changed(self) -> list[dict[str, Any]]:
        """By node: how it differs from before."""
        return [difference(self.before[node.name], traces(node)) for node in self.nodes]


@pytest.fixture(scope="module")
def meshes(release: Release) -> Iterator[tuple[Mesh, Mesh]]:
    """Taken away only when what went wrong was looked into."""
    blue, green = Mesh("blue"), Mesh("green")
    yield blue, green
    blue.delete()
    green.delete()


@pytest.fixture(scope="module")
def ground(meshes: tuple[Mesh, Mesh], nodes: list[Node]) -> Ground:
    blue, green = meshes
    before = {node.name: traces(node) for node in nodes}
    began = time.monotonic()
    apply(mesh_body(blue.name))
    second = {**SECOND_PORTS, "wireguard": {**SECOND_PORTS["wireguard"], "presharedKeys": True}}
    apply(mesh_body(green.name, "10.233.0.0/16", "fd00:10:233::/64", **second))
    for mesh in meshes:
        mesh.wait()
    return Ground(nodes, blue, green, before, time.monotonic() - began)


def test_two_meshes_on_the_same_nodes_are_both_whole(ground: Ground, measured: Measured) -> None:
    measured(
        "two meshes at once: kubectl apply until both are FullyMeshed",
        ground.seconds,
        at_most=TOGETHER_SECONDS,
    )
    for mesh in (ground.blue, ground.green):
        assert mesh.counts() == ("3/3", "6/6")
        for node in ground.nodes:
            assert mesh.peers(node.name) == {key for name, key in mesh.keys().items() if name != node.name}
    assert set(ground.blue.keys().values()).isdisjoint(ground.green.keys().values())


def test_a_dual_stack_mesh_carries_both_families_between_all_nodes(
    ground: Ground, measured: Measured, tmp_path: Path
) -> None:
    for addresses in ground.green.addresses().values():
        assert [ip_address(address).version for address in addresses] == [4, 6]
    pairs = ground.green.pairs(ground.nodes)
    assert len(pairs) == 2 * 6
    with none_lost(tmp_path, measured, "a dual-stack mesh is pinged on 12 ways", pairs) as pings:
        assert all(ping.sent() for ping in pings)


def test_tunnels_have_pre_shared_keys_in_the_mesh_that_asks_for_them_and_in_no_other(ground: Ground) -> None:
    names = {key: name for name, key in ground.green.keys().items()}
    found = {
        frozenset((node.name, names[key])): secret
        for node in ground.nodes
        for key, secret in ground.green.preshared(node.name).items()
    }
    # Both ends of each of the three pairs have the same, and no two pairs do.
    told = [secret for node in ground.nodes for secret in ground.green.preshared(node.name).values()]
    assert len(found) == len(set(found.values())) == 3
    assert sorted(told) == sorted([*found.values(), *found.values()])
    assert "(none)" not in told
    for node in ground.nodes:
        assert set(ground.blue.preshared(node.name).values()) == {"(none)"}
    wait_for(
        lambda: {member["status"]["presharedKeyPeers"] for member in ground.green.members().values()} == {2},
        TOGETHER_SECONDS,
        "every node says that both its tunnels have one",
        ground.green.members,
    )


def test_all_that_is_secret_is_replaced_when_the_mesh_is_annotated_and_no_ping_is_lost(
    ground: Ground, measured: Measured, tmp_path: Path
) -> None:
    """Gossip key and pre-shared keys at the same time, then WireGuard keys, which take the pre-shared ones along."""
    green = ground.green
    (ring,), secrets, keys = rings(green), shared(green, ground.nodes), green.keys()
    during = "gossip key, pre-shared keys and WireGuard keys are replaced"
    with none_lost(tmp_path, measured, during, green.pairs(ground.nodes)):
        began = time.monotonic()
        green.rotate("gossip-key")
        green.rotate("psk")

        def replaced() -> bool:
            found = rings(green)
            is_other = len(found) == 1 and ring not in found and len(*found) == 1
            return is_other and shared(green, ground.nodes).isdisjoint(secrets)

        wait_for(replaced, ROTATED_SECONDS, "another gossip key, other pre-shared keys", green.members)
        wait_for(
            lambda: {"GossipKeyRotated", "PresharedSecretReplaced"} <= green.events(),
            TOGETHER_SECONDS,
            "the Events that say that it is done",
            green.events,
        )
        measured("gossip and pre-shared keys: annotated until all have others", time.monotonic() - began)
        began = time.monotonic()
        green.rotate("wireguard-keys")
        wait_for(
            lambda: "WireGuardKeysRotated" in green.events(), ROTATED_SECONDS, "its Event", green.members
        )
        measured("WireGuard keys: annotated until all have others", time.monotonic() - began)
        assert set(green.keys()) == set(keys)
        assert set(green.keys().values()).isdisjoint(keys.values())
        green.wait()
    wait_for(lambda: has_no_former_peers(green, ground.nodes), TOGETHER_SECONDS, "no former key is left")
    assert "(none)" not in shared(green, ground.nodes)
    assert green.counts() == ("3/3", "6/6")


def has_no_former_peers(mesh: Mesh, nodes: list[Node]) -> bool:
    """Every node has the present keys of all others as peers, and no more."""
    keys = mesh.keys()
    return all(
        mesh.peers(node.name) == {key for name, key in keys.items() if name != node.name} for node in nodes
    )


def rings(mesh: Mesh) -> set[tuple[str, ...]]:
    """The gossip keys' ids, as members say that they have them."""
    return {tuple(member["status"]["gossipKeys"]) for member in mesh.members().values()}


def shared(mesh: Mesh, nodes: list[Node]) -> set[str]:
    """The pre-shared keys that WireGuard has."""
    return {secret for node in nodes for secret in mesh.preshared(node.name).values()}


@pytest.fixture(scope="module")
def labels(ground: Ground) -> Iterator[dict[str, str]]:
    """What selects nodes labelled by `label`; no node is, afterwards."""
    yield {CHOSEN: "yes"}
    kubectl("label", "nodes", "--all", f"{CHOSEN}-")


def label(*nodes: Node) -> None:
    kubectl("label", "nodes", *[node.name for node in nodes], f"{CHOSEN}=yes", "--overwrite")


def test_a_node_that_is_not_selected_any_more_leaves_without_a_trace_and_comes_back_when_it_is(
    ground: Ground, labels: dict[str, str], measured: Measured, tmp_path: Path
) -> None:
    *stay, goes = ground.nodes
    label(*stay)
    away_and_back(
        ground,
        goes,
        lambda: ground.blue.change(nodeSelector=labels),
        lambda: label(goes),
        ("nodeSelector narrowed", "node labelled"),
        measured,
        tmp_path,
    )


def test_a_node_whose_label_is_taken_away_leaves_without_a_trace_and_comes_back_unlabelled(
    ground: Ground, labels: dict[str, str], measured: Measured, tmp_path: Path
) -> None:
    """Kubernetes ends its pods at once, before it can be asked to leave."""
    goes = ground.nodes[2]
    label(*ground.nodes)
    ground.blue.change(nodeSelector=labels)
    away_and_back(
        ground,
        goes,
        lambda: kubectl("label", "node", goes.name, f"{CHOSEN}-"),
        lambda: ground.blue.change(nodeSelector=None),
        ("label taken away", "nodeSelector widened"),
        measured,
        tmp_path,
    )


def away_and_back(
    ground: Ground,
    goes: Node,
    exclude: Callable[[], object],
    include: Callable[[], object],
    called: tuple[str, str],
    measured: Measured,
    folder: Path,
) -> None:
    """Lets a node leave blue and return, without effects on the others."""
    blue, stay = ground.blue, [node for node in ground.nodes if node != goes]
    key, addresses = wait_for(lambda: blue.keys().get(goes.name), LEAVE_SECONDS, "its key"), blue.addresses()
    others = [*blue.pairs(stay), *ground.green.pairs(ground.nodes)]
    with none_lost(folder, measured, f"elsewhere, {called[0]} and {called[1]}", others):
        began = time.monotonic()
        exclude()
        wait_for(
            lambda: (
                goes.name not in blue.members()
                and goes.name not in blue.pods("agent")
                and goes.name not in blue.pods("tunnel")
            ),
            LEAVE_SECONDS,
            f"{goes.name} has left",
            blue.members,
        )
        measured(f"{called[0]} until the node has left", time.monotonic() - began)
        wait_for(
            lambda: only_of("green", difference(ground.before[goes.name], traces(goes))),
            LEAVE_SECONDS,
            f"nothing of {blue.name} is left on {goes.name}",
            lambda: difference(ground.before[goes.name], traces(goes)),
        )
        wait_for(
            lambda: blue.counts() == ("2/2", "2/2"),
            LEAVE_SECONDS,
            "2/2 nodes, 2/2 links",
            blue.status,
        )
        measured(f"{called[0]} until status is 2/2, 2/2", time.monotonic() - began)
        assert blue.condition("FullyMeshed")["status"] == "True"
        assert key not in {peer for node in stay for peer in blue.peers(node.name)}

        began = time.monotonic()
        include()
        wait_for(
            lambda: set(blue.pods("tunnel")) == set(addresses) == set(blue.members()),
            TOGETHER_SECONDS,
            f"{goes.name} is to be a member again",
        )
        assert blue.addresses() == addresses
        back = folder / "back"
        back.mkdir()
        with pinging(back, *blue.pairs(ground.nodes), seconds=TOGETHER_SECONDS):
            measured(
                f"{called[1]} until pings to and from the node are answered",
                time.monotonic() - began,
                at_most=TOGETHER_SECONDS,
            )


def test_deleting_one_mesh_does_not_touch_the_other(
    ground: Ground, measured: Measured, tmp_path: Path
) -> None:
    blue, green = ground.blue, ground.green
    with none_lost(tmp_path, measured, "another mesh on the same nodes is deleted", blue.pairs(ground.nodes)):
        began = time.monotonic()
        green.delete()
        measured("one of two meshes deleted until it is gone", time.monotonic() - began, at_most=GONE_SECONDS)
        for changed in ground.changed():
            assert changed
            assert only_of("blue", changed), changed
    wait_for(lambda: blue.counts() == ("3/3", "6/6"), TOGETHER_SECONDS, "3/3, 6/6", blue.status)


def test_of_a_deleted_mesh_no_trace_is_left_on_any_node(ground: Ground, measured: Measured) -> None:
    ground.green.delete()
    began = time.monotonic()
    ground.blue.delete()
    measured("WgMesh deleted until it is gone", time.monotonic() - began, at_most=GONE_SECONDS)
    assert ground.changed() == [{}, {}, {}]
    assert_collected(ground.blue)


def assert_collected(mesh: Mesh) -> None:
    """Nothing of the mesh is left in the cluster, once Kubernetes has collected what belonged to it."""
    wait_for(
        lambda: not objects_of(mesh.name),
        COLLECTED_SECONDS,
        f"nothing is left of {mesh.name}",
        lambda: objects_of(mesh.name),
    )


def stages(mesh: Mesh) -> list[Callable[[], object]]:
    """State of a mesh when it is deleted again: requested, accepted, deployed, partly joined, complete."""
    return [
        lambda: True,
        lambda: mesh.status(),
        lambda: mesh.pods("agent"),
        lambda: any((member.get("status") or {}).get("publicKey") for member in mesh.members().values()),
        lambda: mesh.condition("FullyMeshed").get("status") == "True",
    ]


@pytest.fixture
def again(ground: Ground) -> Iterator[Mesh]:
    """A mesh that is not there yet, and the only one."""
    ground.blue.delete()
    ground.green.delete()
    made = Mesh("again")
    yield made
    made.delete()


def test_ten_creations_and_deletions_in_a_row_leave_nothing(
    ground: Ground, again: Mesh, measured: Measured
) -> None:
    mesh = again
    made = gone = 0.0
    for number in range(ROUNDS):
        apply(mesh_body(mesh.name))
        began = time.monotonic()
        stage = stages(mesh)[number % len(stages(mesh))]
        wait_for(stage, TOGETHER_SECONDS, f"stage {number % len(stages(mesh))} of mesh {mesh.name}")
        made += time.monotonic() - began
        began = time.monotonic()
        mesh.delete()
        gone = max(gone, time.monotonic() - began)
        assert ground.changed() == [{}, {}, {}], f"round {number}"
    measured(f"{ROUNDS} meshes in a row, each deleted at another stage: making them", made)
    measured("the slowest of their deletions", gone, at_most=INTERRUPTED_SECONDS)
    assert_collected(mesh)
