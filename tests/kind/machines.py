"""An external machine: a container of the wgmesh image next to the nodes, which joins with a join bundle."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kind.kubectl import Object, apply, get, wait_for
from tests.kind.meshes import API_VERSION, Mesh
from tests.kind.nodes import Node
from tests.kind.release import NAMESPACE

BUNDLE = "/bundle.json"
CALL_SECONDS = 120
BUNDLE_SECONDS = 60


@contextmanager
def machine(name: str, image: str, beside: Node, bundle: Path) -> Iterator[Node]:
    """Runs `wgmesh join --bundle` for as long as the block; what it said is kept afterwards if E2E_LOGS is set."""
    _docker(
        "create",
        f"--name={name}",
        f"--network={_network(beside)}",
        "--user=0",
        "--cap-add=NET_ADMIN",
        "--device=/dev/net/tun",
        image,
        "wgmesh",
        "join",
        "--bundle",
        BUNDLE,
        "--log-format",
        "text",
    )
    try:
        _docker("cp", str(bundle), f"{name}:{BUNDLE}")
        _docker("start", name)
        yield Node(name)
    finally:
        if folder := os.environ.get("E2E_LOGS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            Path(folder, f"{name}.log").write_text(said(name))
        _docker("rm", "--force", "--volumes", name)


def said(name: str) -> str:
    """All that the machine's agent printed."""
    done = subprocess.run(
        ["docker", "logs", name], capture_output=True, text=True, timeout=CALL_SECONDS, check=True
    )
    return done.stdout + done.stderr


def exit_status(name: str) -> int | None:
    """None while it runs."""
    running, code = _docker("inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", name).split()
    return None if running == "true" else int(code)


def _network(node: Node) -> str:
    (name,) = json.loads(_docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", node.name))
    return str(name)


def _docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=CALL_SECONDS, check=True
    ).stdout.strip()


def external(mesh: Mesh, node: str) -> None:
    """Applies the WgMeshNode of an external machine."""
    body: Object = {
        "apiVersion": API_VERSION,
        "kind": "WgMeshNode",
        "metadata": {"name": f"{mesh.name}.{node}"},
        "spec": {"mesh": mesh.name, "node": node, "external": True},
    }
    apply(body)


def bundle(mesh: Mesh, node: str, file: Path, *, unlike: bytes = b"") -> bytes:
    """Fetches the join bundle into a file as a person would; another than `unlike`."""

    def look() -> bytes | None:
        secret = get("secret", f"wgmesh-{mesh.name}-{node}-join", NAMESPACE)
        found = base64.b64decode(secret["data"]["bundle.json"]) if secret else b""
        return found if found and found != unlike else None

    made: bytes = wait_for(look, BUNDLE_SECONDS, "the join bundle is there")
    file.touch(mode=0o600)
    file.write_bytes(made)
    return made
