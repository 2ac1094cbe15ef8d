"""Meshes on the cluster under test: made, looked at, pinged, taken away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.kind.kubectl import Object, apply, condition, delete, get, items, wait_for
from tests.kind.release import NAMESPACE

API_VERSION = "wgmesh.dev/v1alpha1"
MESHED_SECONDS = 120
GONE_SECONDS = 120


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

    def agents(self) -> dict[str, str]:
        """Names of the agents' pods by node; without those that are ending."""
        return {node: pod["metadata"]["name"] for node, pod in self.pods("agent").items()}

    def pods(self, component: str) -> dict[str, Object]:
        """The pods of "agent" or "tunnel" by node; without those that are ending."""
        labels = f"wgmesh.dev/mesh={self.name},app.kubernetes.io/component={component}"
        return {
            pod["spec"]["nodeName"]: pod
            for pod in items("pods", labels=labels, namespace=NAMESPACE)
            if "deletionTimestamp" not in pod["metadata"]
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
