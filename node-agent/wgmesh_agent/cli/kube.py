"""`wgmesh-agent kube` and `wgmesh-agent tunnel`: the commands of the operator's DaemonSets."""

from __future__ import annotations

import os
import signal
import sys

from wgmesh_agent.cli.commands import GoCommand
from wgmesh_agent.cli.library_parts import leave_out


def _end_when_terminated() -> None:
    """SIGTERM does not end the first process of a container unless it has a handler; the rest takes time to load."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def _kube() -> int:
    _end_when_terminated()
    leave_out(tls=True)
    from wgmesh_agent.kube.agent import run_kube

    return run_kube(os.environ)


def _tunnel() -> int:
    _end_when_terminated()
    from wgmesh_agent.kube.tunnel_holder import run_tunnel

    return run_tunnel(os.environ)


kube = GoCommand(
    "kube",
    _kube,
    help="Run the agent of this Kubernetes node. Configured by the operator through the environment.",
)
tunnel = GoCommand(
    "tunnel",
    _tunnel,
    help="Run wireguard-go for the agents on this node, where the kernel has no WireGuard.",
)
