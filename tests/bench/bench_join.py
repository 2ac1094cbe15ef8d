"""From the start of `wgmesh join` to the first ping through the tunnel."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import import_set
from tests.bench.measurement import CannotRun, Measurement

from wgmesh_agent.lab.agent import Agent
from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import Network
from wgmesh_api.identity import Role

TITLE = "from exec of `wgmesh join` to the first reply to a ping through the tunnel (sent every 5 ms)"
JOINS, QUICK_JOINS = 30, 5
LONGEST_SECONDS = 30.0
REACH_MORE_SECONDS = 1.5
REACH_WORST_SECONDS = 3.0
PINGER = Path(__file__).with_name("pinger.py")


def measure(quick: bool) -> list[Measurement]:
    """Each joiner is a new machine with a new key; before each, the interpreter with the same imports is timed."""
    joins: list[float] = []
    starts: list[float] = []
    with Network() as network:
        network.add_host("n1")
        mesh = Mesh(network, "join")
        mesh.bootstrap()
        target = mesh.mesh_address("n1")
        names = _imports(mesh)
        imports = import_set.program(names)
        for number in range(QUICK_JOINS if quick else JOINS):
            node = f"j{number}"
            host = network.add_host(node)
            mesh.certificate(node, Role.NODE)
            starts.append(_start_seconds(host, imports))
            joins.append(_join_seconds(mesh, node, target))
            _leave(mesh.agents.pop(node))
            host.kill()
    more = statistics.median(joins) - statistics.median(starts)
    return [
        Measurement(
            "join, exec to first ping",
            "s",
            joins,
            "interpreter with the same imports",
            starts,
            f"≤ {REACH_MORE_SECONDS:g} s more; none past {REACH_WORST_SECONDS:g} s",
            more <= REACH_MORE_SECONDS and max(joins) <= REACH_WORST_SECONDS,
        ),
        Measurement(
            "of that beyond start and imports",
            "s",
            [join - start for join, start in zip(joins, starts, strict=True)],
            reach=f"≤ {REACH_MORE_SECONDS:g} s",
            reached=more <= REACH_MORE_SECONDS,
        ),
    ]


def _imports(mesh: Mesh) -> list[str]:
    """What a first joiner imports until it pings; it also leaves byte code behind for those that are measured."""
    mesh.network.add_host("imports")
    os.environ.update(import_set.REPORT)
    try:
        _join_seconds(mesh, "imports", mesh.mesh_address("n1"))
    finally:
        for name in import_set.REPORT:
            del os.environ[name]
    agent = mesh.agents.pop("imports")
    names = import_set.imported(agent.log.read_text(errors="replace"))
    _leave(agent)
    agent.host.kill()
    return import_set.existing(names)


def _start_seconds(host: Host, command: list[str]) -> float:
    """From exec until the interpreter has imported all and says so."""
    begun = time.monotonic()
    process = subprocess.Popen(host.inside(command), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    with process.stdout as output:
        said = output.readline()
        seconds = time.monotonic() - begun
    if process.wait() != 0 or said != b"imported\n":
        raise CannotRun("the interpreter with the same imports did not run")
    return seconds


def _join_seconds(mesh: Mesh, node: str, target: str) -> float:
    host = mesh.network.hosts[node]
    command = host.inside([sys.executable, str(PINGER), target, str(LONGEST_SECONDS)])
    plain = {name: value for name, value in os.environ.items() if name not in import_set.REPORT}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=plain) as pinger:
        assert pinger.stdout is not None
        pinger.stdout.readline()
        begun = time.monotonic()
        agent = mesh.join(node)
        answered = pinger.stdout.readline()
    if not answered:
        raise CannotRun(
            f"no ping went through the tunnel of {node} within {LONGEST_SECONDS:g} s: {agent.said()}"
        )
    return float(answered) - begun


def _leave(agent: Agent) -> None:
    agent.wait_until_ready()
    agent.stop(signal.SIGINT)
