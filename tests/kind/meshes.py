"""Meshes on the cluster under test: created, inspected, pinged, deleted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from tests.kind.kubectl import Object, apply, condition, delete, get, items, kubectl, wait_for
from tests.kind.nodes import Node
from tests.kind.release import NAMESPACE

API_VERSION = "wgmesh.dev/v1alpha1"
MESHED_SECONDS = 120
GONE_SECONDS = 120
WIREGUARD_PORT, HEALTH_PORT = 54540, 9586
SECOND_PORTS: dict[str, Any] = {
    "wireguard": {"port": 54541},
    "bootstrap": {"port": 5001},
    "agent": {"metricsPort": 9587},
}
"""Of a mesh that shares nodes with another."""


def mesh_body(name: str, *cidrs: str, **spec: Any) -> Object:
    """A WgMesh to apply."""
    return {
        "apiVersion": API_VERSION,
        "kind": "WgMesh",
        "metadata": {"name": name},
        "spec": {"cidrs": list(cidrs or ("10.232.0.0/16",)), **spec},
    }


@dataclass(frozen=True, slots=True)
class Mesh:
    """A WgMesh by name."""

    name: str

    def body(self) -> Object | None:
        return get("wgmesh", self.name)

    def status(self) -> Object:
        return (self.body() or {}).get("status") or {}

    def condition(self, kind: str) -> Object:
        return condition(self.body(), kind)

    def counts(self) -> tuple[str, str]:
        """NODES and LINKS."""
        status = self.status()
        return status["nodes"], status["links"]

    def events(self) -> set[str]:
        """Reasons of the Events on it."""
        own = (self.body() or {})["metadata"]["uid"]
        events = items("events", namespace="default")
        return {event["reason"] for event in events if event["involvedObject"].get("uid") == own}

    def rotate(self, what: str) -> None:
        """Annotates it, so that this is replaced."""
        kubectl("annotate", "--overwrite", "wgmesh", self.name, f"wgmesh.dev/rotate-{what}={time.time()}")

    def wait(self, kind: str = "FullyMeshed", status: str = "True", seconds: float = MESHED_SECONDS) -> None:
        """AssertionError with the mesh's whole status if the condition is not so in time."""
        wait_for(
            lambda: self.condition(kind).get("status") == status,
            seconds,
            f"mesh {self.name} has {kind} {status}",
            self.status,
        )

    def members(self) -> dict[str, Object]:
        """WgMeshNodes by node name."""
        return {
            found["spec"]["node"]: found
            for found in items("wgmeshnodes")
            if found["spec"]["mesh"] == self.name
        }

    def addresses(self) -> dict[str, list[str]]:
        return {node: member["spec"]["addresses"] for node, member in self.members().items()}

    def pairs(self, nodes: Iterable[Node]) -> list[tuple[Node, str]]:
        """From each of these nodes to every mesh address of each other."""
        addresses = self.addresses()
        return [(one, address) for one, other in permutations(nodes, 2) for address in addresses[other.name]]

    def keys(self) -> dict[str, str]:
        """The WireGuard public keys of those members that have reported theirs, by node name."""
        return {
            node: member["status"]["publicKey"]
            for node, member in self.members().items()
            if (member.get("status") or {}).get("publicKey")
        }

    def peers(self, node: str) -> set[str]:
        """The public keys that WireGuard itself has as peers on a node."""
        return set(self._shown(node, "peers").split())

    def preshared(self, node: str) -> dict[str, str]:
        """The pre-shared keys that WireGuard itself has on a node, or `(none)`, by the peer's public key."""
        return dict(line.split("\t") for line in self._shown(node, "preshared-keys").splitlines())

    def _shown(self, node: str, what: str) -> str:
        # Not the agent's pod, which is replaced with every change of the mesh.
        tunnel = self.pods("tunnel")[node]["metadata"]["name"]
        return kubectl("exec", "-n", NAMESPACE, tunnel, "--", "wg", "show", f"wg{self.name}", what)

    def change(self, **spec: Any) -> None:
        """Merges into the spec; None: back to the default."""
        kubectl("patch", "wgmesh", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def agents(self) -> dict[str, str]:
        """Names of the agents' pods by node; without those that are ending."""
        return {node: pod["metadata"]["name"] for node, pod in self.pods("agent").items()}

    def pods(self, component: str) -> dict[str, Object]:
        """The pods of "agent" or "tunnel" by node; without those that are ending, or have no node yet."""
        labels = f"wgmesh.dev/mesh={self.name},app.kubernetes.io/component={component}"
        return {
            pod["spec"]["nodeName"]: pod
            for pod in items("pods", labels=labels, namespace=NAMESPACE)
            if "deletionTimestamp" not in pod["metadata"] and "nodeName" in pod["spec"]
        }

    def delete(self, seconds: float = GONE_SECONDS) -> None:
        """Deletes it and waits until the operator lets it go."""
        delete("wgmesh", self.name, seconds=seconds)


@contextmanager
def mesh(name: str, *cidrs: str, **spec: Any) -> Iterator[Mesh]:
    """A mesh for one test; not waited for."""
    apply(mesh_body(name, *cidrs, **spec))
    made = Mesh(name)
    try:
        yield made
    finally:
        made.delete()
