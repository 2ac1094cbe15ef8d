"""kind's nodes as containers on this machine: restarted, isolated, inspected.

Programs run with this machine's own files in the node's network namespace, so a node needs none of them.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.kind.kubectl import items, kubectl, wait_for

SETTLED_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Node:
    """One Kubernetes node. `name` is also its container's."""

    name: str

    def run(
        self, *command: str, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs one of this machine's programs in the node's network. Raises CalledProcessError."""
        return subprocess.run(
            [*self.enter(), *command], input=stdin, capture_output=True, text=True, timeout=60, check=check
        )

    def enter(self) -> list[str]:
        """What to put before a command to run it in the node's network; valid until the node restarts."""
        return ["nsenter", "--net", f"--target={self.pid()}", "--"]

    def inside(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs one of the node's own programs in the node, with its files. Raises CalledProcessError."""
        return subprocess.run(
            ["docker", "exec", self.name, *command], capture_output=True, text=True, timeout=60, check=check
        )

    def pid(self) -> int:
        return int(_docker("inspect", "--format", "{{.State.Pid}}", self.name))

    def json(self, *command: str) -> Any:
        """What a program prints as JSON; none for nothing."""
        text = self.run(*command).stdout
        return json.loads(text) if text.strip() else []

    def restart(self) -> None:
        """As a reboot: its network namespace is new, its disk is kept."""
        _docker("restart", self.name)

    def stop(self) -> None:
        """As pulling the plug."""
        _docker("kill", self.name)

    def start(self) -> None:
        _docker("start", self.name)

    def is_running(self) -> bool:
        return _docker("inspect", "--format", "{{.State.Running}}", self.name) == "true"

    def pause(self) -> None:
        _docker("pause", self.name)

    def unpause(self) -> None:
        _docker("unpause", self.name)

    def underlay(self) -> str:
        """The node's own IPv4 address."""
        text: str = self.json("ip", "-j", "-4", "addr", "show", "dev", "eth0")[0]["addr_info"][0]["local"]
        return text

    def is_ready(self) -> bool:
        return (
            kubectl(
                "get", "node", self.name, "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
            )
            == "True"
        )


def cluster_nodes() -> list[Node]:
    """All nodes, the control plane first."""
    found = sorted(
        items("nodes"),
        key=lambda node: "node-role.kubernetes.io/control-plane" not in node["metadata"]["labels"],
    )
    return [Node(node["metadata"]["name"]) for node in found]


def wait_until_ready(nodes: list[Node], seconds: float = SETTLED_SECONDS) -> None:
    wait_for(
        lambda: all(node.is_ready() for node in nodes), seconds, f"nodes {[n.name for n in nodes]} are ready"
    )


def _docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=120, check=True
    ).stdout.strip()
