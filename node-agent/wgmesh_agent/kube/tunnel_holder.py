"""`wgmesh-agent tunnel`: runs the wireguard-go of one mesh on this node, separate from its agent.

This process reads its settings and becomes a shell: an interpreter would stay in memory for as long as the tunnel does.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from wgmesh_agent.kube.settings import mesh_name
from wgmesh_agent.linux.backends.external_process import request_file_of
from wgmesh_agent.linux.backends.priority import come_first
from wgmesh_agent.linux.backends.wireguard_go import PROGRAM, SOCKETS

SHELL = "/bin/sh"
SCRIPT = Path(__file__).with_name("hold_tunnel.sh")


def run_tunnel(environment: Mapping[str, str], sockets: Path = SOCKETS) -> int:
    """Returns only if tunnels cannot run here: 1.

    Raises:
        SettingsError: the environment names no mesh.
        OSError: the folder of the sockets cannot be created, or there is no shell.
    """
    interface = f"wg{mesh_name(environment)}"
    program = shutil.which(PROGRAM)
    if program is not None:
        sockets.mkdir(mode=0o755, parents=True, exist_ok=True)
        come_first(os.getpid())
        request = str(request_file_of(interface, sockets))
        os.execv(SHELL, [SHELL, str(SCRIPT), interface, program, request])  # noqa: S606
    print(f"wgmesh-agent: {PROGRAM} is not installed here", file=sys.stderr)  # noqa: T201
    return 1
