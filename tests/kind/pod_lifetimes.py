"""Who the members of a mesh are, and which lives their pods live: what an outage must not change."""

from __future__ import annotations

from tests.kind.kubectl import Object, kubectl, wait_for
from tests.kind.meshes import Mesh
from tests.kind.nodes import Node
from tests.kind.release import NAMESPACE


def identities(made: Mesh) -> dict[str, tuple[str, list[str]]]:
    """By node the public key and the addresses."""
    return {
        node: (member["status"]["publicKey"], member["spec"]["addresses"])
        for node, member in made.members().items()
    }


def container(pod: Object) -> Object:
    """The state of a pod's only container; empty before it has one."""
    found: list[Object] = pod["status"].get("containerStatuses") or [{}]
    return found[0]


def lives(made: Mesh, component: str) -> dict[str, tuple[str, int]]:
    """The pod of each node, and how often its container was restarted."""
    return {
        node: (pod["metadata"]["uid"], container(pod).get("restartCount", -1))
        for node, pod in made.pods(component).items()
    }


def log_lines(pod: str) -> int:
    """How many lines a pod of the operator's namespace has logged in its present life."""
    return len(kubectl("logs", "-n", NAMESPACE, pod).splitlines())


def agent_again(made: Mesh, node: Node, since: dict[str, tuple[str, int]], seconds: float) -> None:
    """Waits until the cluster says that this node's agent was started again since then in its pod, and is ready."""

    def is_ready() -> bool:
        pod = made.pods("agent")[node.name]
        uid, restarts = since[node.name]
        state = container(pod)
        return bool(pod["metadata"]["uid"] == uid and state["restartCount"] > restarts and state["ready"])

    wait_for(is_ready, seconds, f"the agent of {node.name} was started anew", lambda: lives(made, "agent"))


def renew_certificates(made: Mesh, seconds: float) -> None:
    """What takes agents and operator, by way of the API server: so all of them are at work, and not only up."""

    def serials() -> dict[str, str]:
        return {node: member["status"]["certificateSerial"] for node, member in made.members().items()}

    before = serials()
    made.change(certificates={"lifetime": "700h"})
    wait_for(
        lambda: all(serial != before[node] for node, serial in serials().items()),
        seconds,
        "every member has a new certificate",
        serials,
    )
