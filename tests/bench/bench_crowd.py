"""Time until all members have completed handshakes with each other after the last of ten joins."""

from __future__ import annotations

import signal
import statistics
import time

from tests.bench.log_watch import LogWatch
from tests.bench.measurement import Measurement

from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import Network

TITLE = "ten joins: until all see each other alive and have a handshake with each other"
JOINS = 10
LONGEST_SECONDS = 60.0
CROWDS, QUICK_CROWDS = 5, 1
LASTS, QUICK_LASTS = 10, 2
REACH_SECONDS = 2.0


def measure(quick: bool) -> list[Measurement]:
    """Ten at once on an empty mesh, again and again; then in the last mesh a tenth that comes after the other nine."""
    after_admission: list[float] = []
    after_exec: list[float] = []
    lasts: list[float] = []
    crowds = QUICK_CROWDS if quick else CROWDS
    for _ in range(crowds):
        with Network() as network:
            admission, start = _crowd(Mesh(network, "crowd"))
            after_admission.append(admission)
            after_exec.append(start)
    with Network() as network:
        mesh = Mesh(network, "last")
        mesh.start(JOINS)
        lasts = [_last(mesh, f"last{number}") for number in range(QUICK_LASTS if quick else LASTS)]
    reach = f"≤ {REACH_SECONDS:g} s"
    return [
        Measurement(
            "ten at once: from the last one's admission",
            "s",
            after_admission,
            reach=reach,
            reached=statistics.median(after_admission) <= REACH_SECONDS,
        ),
        Measurement(
            "the tenth alone, the others being there: from its exec",
            "s",
            lasts,
            reach=reach,
            reached=statistics.median(lasts) <= REACH_SECONDS,
        ),
        Measurement("ten at once: from the first exec, ten interpreters starting", "s", after_exec),
    ]


def _crowd(mesh: Mesh) -> tuple[float, float]:
    """Seconds from the last admission, and from the first exec, until the mesh is full."""
    joiners = [f"n{number}" for number in range(2, JOINS + 2)]
    for node in ("n1", *joiners):
        mesh.network.add_host(node)
    first = mesh.bootstrap()
    with LogWatch({"n1": first.log}) as watch:
        begun = time.monotonic()
        for node in joiners:
            mesh.join(node)
        admissions = f"(?s:(admitted +node=.*){{{JOINS}}})"
        admitted = watch.first(admissions, LONGEST_SECONDS)["n1"]
    mesh.wait_until_full(seconds=LONGEST_SECONDS)
    full = time.monotonic()
    return full - admitted, full - begun


def _last(mesh: Mesh, node: str) -> float:
    """Seconds from a newcomer's exec until the mesh is full; it leaves again."""
    mesh.network.add_host(node)
    with LogWatch({name: agent.log for name, agent in mesh.agents.items()}) as watch:
        begun = time.monotonic()
        agent = mesh.join(node)
        # Asking ten agents again and again would slow the eleventh down.
        watch.first(f"member +node={node} status=alive", LONGEST_SECONDS)
    mesh.wait_until_full(seconds=LONGEST_SECONDS)
    seconds = time.monotonic() - begun
    agent.stop(signal.SIGINT)
    del mesh.agents[node]
    agent.host.kill()
    return seconds
