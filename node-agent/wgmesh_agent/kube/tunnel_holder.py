"""`wgmesh-agent tunnel`: holds the tunnels of one mesh on this node, apart from its agent."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Mapping

from wgmesh_agent.kube.settings import mesh_name
from wgmesh_agent.linux.backends.external_process import run_while_requested
from wgmesh_agent.linux.backends.wireguard_go import PROGRAM, SOCKETS


def run_tunnel(environment: Mapping[str, str]) -> int:
    """Holds tunnels until it is killed; 1 if it cannot. Raises SettingsError."""
    mesh = mesh_name(environment)
    program = shutil.which(PROGRAM)
    if program is None:
        print(f"wgmesh-agent: {PROGRAM} is not installed here", file=sys.stderr)  # noqa: T201
        return 1
    # The first process of a container is not ended by SIGTERM unless it says so.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    SOCKETS.mkdir(mode=0o755, parents=True, exist_ok=True)
    run_while_requested(f"wg{mesh}", program)
    return 0
