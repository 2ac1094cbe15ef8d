"""The real processes of a mesh on a node: found by their program and mesh, inspected, killed."""

from __future__ import annotations

from dataclasses import dataclass

from tests.kind.nodes import Node

AGENT = "wgmesh-agent kube"
TUNNEL = "hold_tunnel.sh"
WIREGUARD = "wireguard-go -f"
OPERATOR = "wgmesh-operator"


@dataclass(frozen=True, slots=True)
class Process:
    """`pid` as the node counts."""

    node: Node
    pid: int

    def kill(self) -> None:
        """SIGKILL: it gets no chance to do anything."""
        self.node.inside("kill", "-KILL", str(self.pid))

    def status(self) -> dict[str, str]:
        """What the kernel says of it, by name, as in proc(5)."""
        text = self.node.inside("cat", f"/proc/{self.pid}/status").stdout
        return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}

    def capabilities(self) -> dict[str, int]:
        """What it may, may use now, and can ever get, as masks by their names in proc(5)."""
        status = self.status()
        return {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")}

    def resident_mib(self) -> float:
        return int(self.status()["VmRSS"].split()[0]) / 1024


def processes(node: Node, command: str, mesh: str | None) -> list[Process]:
    """Those whose command line has `command` in it and whose environment names the mesh; None: whichever, or none."""
    found = node.inside("pgrep", "-f", "--", command, check=False).stdout.split()
    return [Process(node, int(pid)) for pid in found if mesh is None or mesh == _mesh_of(node, pid)]


def process(node: Node, command: str, mesh: str | None) -> Process:
    """The only one. AssertionError if there is none, or several."""
    found = processes(node, command, mesh)
    assert len(found) == 1, f"{node.name} runs {len(found)} of `{command}` for mesh {mesh}"
    return found[0]


def _mesh_of(node: Node, pid: str) -> str | None:
    variables = node.inside("cat", f"/proc/{pid}/environ", check=False).stdout.split("\0")
    prefix = "WGMESH_MESH_NAME="
    return next((one.removeprefix(prefix) for one in variables if one.startswith(prefix)), None)
