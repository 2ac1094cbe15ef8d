"""What an agent costs while nothing happens, beside `serf agent`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from tests.bench.measurement import Measurement
from tests.bench.processes import cpu_seconds, memory, voluntary_switches
from tests.bench.serf_cluster import SerfCluster

from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import Network

TITLE = "ten nodes and ten `serf agent`s at rest, side by side: processor time and memory of one agent"
NODES = 10
SETTLE_SECONDS = 15.0
IDLE_SECONDS, QUICK_SECONDS = 90.0, 20.0
REACH_CPU_RATIO = 3.0
REACH_RESIDENT_MIB = 75.0


def measure(quick: bool) -> list[Measurement]:
    """Both clusters rest on the same machine at the same time; each sample is one agent."""
    with Network() as network:
        serf = SerfCluster(network, NODES)
        mesh = Mesh(network, "idle")
        for number in range(1, NODES + 1):
            network.add_host(f"n{number}")
        mesh.bootstrap()
        for number in range(2, NODES + 1):
            mesh.join(f"n{number}")
        mesh.wait_until_full()
        ours = {name: agent.pid for name, agent in mesh.agents.items()}
        theirs = {name: agent.pid for name, agent in serf.agents.items()}
        time.sleep(SETTLE_SECONDS)
        seconds = QUICK_SECONDS if quick else IDLE_SECONDS
        begun = time.monotonic()
        before = [_each(cpu_seconds, pids) for pids in (ours, theirs)]
        woken_before = [_each(voluntary_switches, pids) for pids in (ours, theirs)]
        time.sleep(seconds)
        after = [_each(cpu_seconds, pids) for pids in (ours, theirs)]
        woken_after = [_each(voluntary_switches, pids) for pids in (ours, theirs)]
        seconds = time.monotonic() - begun
        cpu, serf_cpu = (_rates(a, b, seconds, 100.0) for a, b in zip(before, after, strict=True))
        woken, serf_woken = (
            _rates(a, b, seconds, 1.0) for a, b in zip(woken_before, woken_after, strict=True)
        )
        resident, serf_resident = ([memory(pid).resident for pid in pids.values()] for pids in (ours, theirs))
        shared, serf_shared = ([memory(pid).proportional for pid in pids.values()] for pids in (ours, theirs))
    ratio = sum(cpu) / sum(serf_cpu)
    return [
        Measurement(
            f"processor, idle for {seconds:.0f} s (mean ratio {ratio:.2f})",
            "%",
            cpu,
            "serf agent",
            serf_cpu,
            f"≤ {REACH_CPU_RATIO:g}×",
            ratio <= REACH_CPU_RATIO,
        ),
        Measurement("wake-ups a second", "1/s", woken, "serf agent", serf_woken),
        Measurement(
            "resident memory",
            "MiB",
            resident,
            "serf agent",
            serf_resident,
            f"≤ {REACH_RESIDENT_MIB:g} MiB",
            max(resident) <= REACH_RESIDENT_MIB,
        ),
        Measurement("memory, shared pages divided (PSS)", "MiB", shared, "serf agent", serf_shared),
    ]


def _each(look: Callable[[int], float], pids: Mapping[str, int]) -> dict[str, float]:
    return {name: look(pid) for name, pid in pids.items()}


def _rates(
    before: Mapping[str, float], after: Mapping[str, float], seconds: float, scale: float
) -> list[float]:
    return [(after[name] - before[name]) / seconds * scale for name in before]
