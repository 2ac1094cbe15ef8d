"""Pods of different nodes talk through the mesh, and the wire between the nodes carries WireGuard and nothing of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from tests.kind.evidence import Measured
from tests.kind.kubectl import apply, delete, get, kubectl, wait_for
from tests.kind.meshes import WIREGUARD_PORT, Mesh, mesh_body
from tests.kind.nodes import Node
from tests.kind.packet_capture import captured, read
from tests.kind.release import Release
from tests.kind.residue import difference, traces

MESH = "blue"
PORT = 8099
MARK = b"wgmesh-pod-mark!"
MEGABYTE = 1_000_000
ROUTED_SECONDS = 60
SITE = "192.168.77.0/24"
SERVER = f"""
import socket, threading
def answer(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
server = socket.create_server(("", {PORT}))
while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"""
CLIENT = """
import hashlib, random, socket, sys, threading
address, port, mark, count = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), int(sys.argv[4])
sent = mark + random.Random(1).randbytes(count) + mark
with socket.create_connection((address, port), timeout=10) as connection:
    threading.Thread(target=connection.sendall, args=(sent,), daemon=True).start()
    got = b""
    while len(got) < len(sent) and (data := connection.recv(65536)):
        got += data
    print(connection.getsockname()[0], got == sent)
"""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of the cluster's own network, which echoes what it is sent."""

    name: str
    node: Node

    def address(self) -> str:
        return str(((get("pod", self.name, "default") or {}).get("status") or {}).get("podIP") or "")

    def sends_to(self, other: Pod, count: int = MEGABYTE) -> str:
        """Sends and gets back `count` bytes between two marks; what it said of that."""
        return kubectl(
            "exec",
            self.name,
            "--",
            "python3",
            "-c",
            CLIENT,
            other.address(),
            str(PORT),
            MARK.decode(),
            str(count),
        ).strip()


@dataclass(frozen=True, slots=True)
class Ground:
    mesh: Mesh
    nodes: list[Node]
    pods: list[Pod]
    before: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def pods(release: Release, nodes: list[Node]) -> Iterator[list[Pod]]:
    made = [Pod(f"e2e-routes-{number}", node) for number, node in enumerate(nodes)]
    for pod in made:
        container = {
            "name": "echo",
            "image": release.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "-c", SERVER],
        }
        spec = {
            "nodeName": pod.node.name,
            "containers": [container],
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
        }
        metadata = {"name": pod.name, "namespace": "default"}
        apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    try:
        for pod in made:
            kubectl("wait", "--for=condition=Ready", f"pod/{pod.name}", "--timeout=90s", seconds=100)
        yield made
    finally:
        for pod in made:
            delete("pod", pod.name, namespace="default")


@pytest.fixture(scope="module")
def ground(release: Release, nodes: list[Node], pods: list[Pod]) -> Iterator[Ground]:
    before = {node.name: traces(node) for node in nodes}
    mesh = Mesh(MESH)
    apply(mesh_body(MESH))
    try:
        mesh.wait()
        yield Ground(mesh, nodes, pods, before)
    finally:
        mesh.delete()


def wire_of(ground: Ground, folder: Path) -> dict[str, list[bytes]]:
    """What goes over each node's cable while every pod talks to every other."""
    with ExitStack() as stack:
        wire = {
            node.name: stack.enter_context(captured(node, "eth0", folder / f"{node.name}-wire"))
            for node in ground.nodes
        }
        for one, other in permutations(ground.pods, 2):
            assert one.sends_to(other) == f"{one.address()} True", f"{one.name} to {other.name}"
    return wire


def ranges_of(ground: Ground) -> dict[str, list[str]]:
    return {node: member["spec"].get("routes") or [] for node, member in ground.mesh.members().items()}


def routed(node: Node) -> set[str]:
    """The destinations in tables of ours on a node."""
    found = node.json("ip", "-j", "route", "show", "table", "all", "proto", "87")
    return {route["dst"] for route in found if route.get("table", "main") != "main"}


def in_clear(ground: Ground, wire: dict[str, list[bytes]]) -> list[str]:
    """Packets from which an observer on the wire can read pods' addresses or payload."""
    addresses = {pod.address() for pod in ground.pods}
    found = []
    for node, packets in wire.items():
        for raw in packets:
            packet = read(raw)
            if packet is None or packet.is_wireguard(WIREGUARD_PORT):
                continue
            if MARK in raw or {str(packet.source), str(packet.destination)} & addresses:
                found.append(f"{node}: {packet}")
    return found


def test_without_routes_pods_are_seen_on_the_wire(ground: Ground, tmp_path: Path) -> None:
    """So what looks for them does find them."""
    assert in_clear(ground, wire_of(ground, tmp_path))


def test_each_node_s_pods_are_routed_through_the_mesh_when_that_is_wanted(
    ground: Ground, measured: Measured
) -> None:
    began = time.monotonic()
    ground.mesh.change(routes={"podCIDRs": True})

    def all_routed() -> bool:
        ranges = ranges_of(ground)
        return len(ranges) == len(ground.nodes) and all(
            routed(node)
            == {one for name, some in ranges.items() if name != node.name for one in some}
            != set()
            for node in ground.nodes
        )

    wait_for(all_routed, ROUTED_SECONDS, "every node routes the others' pods", lambda: ranges_of(ground))
    measured(
        "podCIDRs: kubectl patch until all nodes route all pods",
        time.monotonic() - began,
        at_most=ROUTED_SECONDS,
    )
    for pod in ground.pods:
        ranges = ranges_of(ground)[pod.node.name]
        assert any(ip_address(pod.address()) in ip_network(one) for one in ranges)


def test_pods_of_different_nodes_talk_and_the_wire_carries_only_wireguard_for_it(
    ground: Ground, tmp_path: Path
) -> None:
    wire = wire_of(ground, tmp_path)
    assert in_clear(ground, wire) == []
    for node, packets in wire.items():
        sealed = [packet for raw in packets if (packet := read(raw)) and packet.is_wireguard(WIREGUARD_PORT)]
        # Each pod sends a megabyte to two others and gets it back, and so do they: eight pass each node's cable.
        assert sum(len(packet.payload) for packet in sealed) > 8 * MEGABYTE, node


def test_pods_reach_other_nodes_at_their_own_addresses_as_before(ground: Ground) -> None:
    """The API server is such an address: what it answers a pod must not come back another way."""
    for node in ground.nodes:
        for pod in ground.pods:
            if pod.node.name != node.name:
                # What a node says to pods by itself goes by the plugin's route, by its mesh address through the mesh.
                assert "dev eth0" in node.run("ip", "route", "get", pod.address()).stdout
                mesh_address = ground.mesh.addresses()[node.name][0]
                for source in (node.underlay(), mesh_address):
                    said = node.run(
                        "ping", "-n", "-c", "2", "-i", "0.2", "-I", source, pod.address(), check=False
                    )
                    assert ", 0% packet loss" in said.stdout, (
                        f"{node.name} ({source}) to {pod.name}: {said.stdout}"
                    )


def test_the_plugin_s_own_routes_are_left_as_they_were(ground: Ground) -> None:
    for node in ground.nodes:
        changed = difference(ground.before[node.name], traces(node))
        assert not [one for change in changed.values() for one in change["gone"]], changed


def test_a_site_that_a_node_is_connected_to_is_refused_there_and_told(ground: Ground) -> None:
    gate, other, third = ground.nodes
    other.run("ip", "address", "add", "192.168.77.1/24", "dev", "lo")
    try:
        ground.mesh.change(routes={"podCIDRs": True, "nodes": [{"node": gate.name, "cidrs": [SITE]}]})
        wait_for(lambda: SITE in routed(third), ROUTED_SECONDS, f"{third.name} routes the site")

        def refused() -> list[str]:
            return list((ground.mesh.members()[other.name].get("status") or {}).get("rejectedRoutes") or [])

        wait_for(
            lambda: any(SITE in one for one in refused()), ROUTED_SECONDS, f"{other.name} refuses it", refused
        )
        assert SITE not in routed(other)
    finally:
        other.run("ip", "address", "del", "192.168.77.1/24", "dev", "lo")
        ground.mesh.change(routes={"podCIDRs": True, "nodes": []})


def test_without_routes_pods_talk_as_before_and_nothing_of_it_is_left(ground: Ground) -> None:
    ground.mesh.change(routes=None)
    wait_for(lambda: not any(map(routed, ground.nodes)), ROUTED_SECONDS, "no node routes pods any more")
    for one, other in permutations(ground.pods, 2):
        assert one.sends_to(other, 1000) == f"{one.address()} True"
    for node in ground.nodes:
        assert "proto 87" not in node.run("ip", "rule").stdout
