"""A hundred real agents, each with a tunnel to each other, beside a hundred `serf agent`s: joining, resting, dying."""

from __future__ import annotations

import random
import re
import signal
import statistics
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.log_watch import LogWatch
from tests.bench.measurement import CannotRun, Measurement
from tests.bench.processes import cpu_seconds, memory, named, require_memory
from tests.bench.serf_cluster import SerfCluster

from wgmesh_agent.lab.agent import until
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import Network

TITLE = (
    "a hundred agents with 4,950 tunnels: the last join; then rest and deaths beside a hundred `serf agent`s"
)
NODES, QUICK_NODES = 100, 30
JOINS, QUICK_JOINS = 5, 2
TRIES, QUICK_TRIES = 10, 3
SETTLE_SECONDS = 30.0
IDLE_SECONDS, QUICK_SECONDS = 90.0, 30.0
LONGEST_SECONDS = 180.0
LOOK_SECONDS = 0.02
"""Between two looks at two hundred logs: looking must not be what keeps the machine busy."""
CALM_SECONDS = 15.0
"""Between two deaths: who came back last has met everybody, so that a death is found by clusters at rest."""
GIB_A_NODE = 0.09

REACH_JOIN_SECONDS = 15.0
REACH_CPU_PERCENT = 0.6
REACH_RESIDENT_MIB = 80.0


def measure(quick: bool) -> list[Measurement]:
    """Both clusters rest and lose members on this machine at the same time; the joins before that are the agents'
    alone. Raises CannotRun where memory does not suffice.
    """
    return hundred(QUICK_NODES if quick else NODES, quick)


def hundred(size: int, quick: bool) -> list[Measurement]:
    """The same with `size` nodes of each kind."""
    require_memory(GIB_A_NODE * size, f"twice {size} agents")
    joins = QUICK_JOINS if quick else JOINS
    with Network() as network:
        nodes = [f"n{number}" for number in range(1, size + joins)]
        for node in nodes:
            network.add_host(node)
        for number in range(1, size + 1):
            network.add_host(f"s{number}")
        network.introduce()
        mesh = Mesh(network, "hundred")
        _grow(mesh, nodes[: size - 1])
        print(f"  {size - 1} agents joined one after the other", flush=True)
        joined = [_last(mesh, node, leaves=node != nodes[-1]) for node in nodes[size - 1 :]]
        _until_full(mesh, mesh.agents)
        print(f"  {size} serf agents beside them", flush=True)
        serf = SerfCluster(network, size)
        rest = _rest(mesh, serf, QUICK_SECONDS if quick else IDLE_SECONDS)
        deaths = _deaths(mesh, serf, QUICK_TRIES if quick else TRIES)
    n = f"{size} agents"
    return [
        Measurement(f"{n}: the last join, from its admission until a full mesh", "s", joined,
                    reach=f"≤ {REACH_JOIN_SECONDS:g} s", reached=statistics.median(joined) <= REACH_JOIN_SECONDS),
        *(_renamed(row, f"{n}: {row.what}") for row in (*rest, *deaths)),
    ]  # fmt: skip


def _grow(mesh: Mesh, nodes: list[str]) -> None:
    """All join, each when everybody knows the one before, and after a pause of as long as that took.

    A join is work for every agent. If the next came before it is done, a few cores would have ever more of it waiting.

    Raises CannotRun; LabError with the end of its log if an agent has ended.
    """
    mesh.bootstrap(nodes[0])
    for node in nodes[1:]:
        begun = time.monotonic()
        with LogWatch({name: agent.log for name, agent in mesh.agents.items()}) as watch:
            mesh.join(node)
            try:
                watch.first(_alive(node), LONGEST_SECONDS, LOOK_SECONDS)
            except CannotRun:
                for agent in mesh.agents.values():
                    _ = agent.pid  # One that has ended says why.
                raise
        time.sleep(time.monotonic() - begun)
    _until_full(mesh, mesh.agents)


def _last(mesh: Mesh, node: str, *, leaves: bool) -> float:
    """Seconds from its admission until all logs have it alive, and itself has all alive and with a handshake.

    A handshake has two ends, and the others had each other before: so it alone is asked. To ask all hundred would cost
    more than the join.
    """
    bootstrap = next(iter(mesh.agents))
    logs = {name: agent.log for name, agent in mesh.agents.items()}
    with LogWatch({bootstrap: logs[bootstrap]}) as door, LogWatch(logs) as watch:
        agent = mesh.join(node)
        admitted = door.first(f"admitted +node={node} ", LONGEST_SECONDS)[bootstrap]
        known = max(watch.first(_alive(node), LONGEST_SECONDS, LOOK_SECONDS).values())
    _until_full(mesh, [node])
    seconds = time.monotonic() - admitted
    print(
        f"  {node}: known to all after {known - admitted:.2f} s, a full mesh after {seconds:.2f} s",
        flush=True,
    )
    if leaves:
        with LogWatch({name: log for name, log in logs.items() if name != node}) as watch:
            agent.stop(signal.SIGINT)
            del mesh.agents[node]
            watch.first(f"member +node={node} status=left", LONGEST_SECONDS, LOOK_SECONDS)
        agent.host.kill()
    return seconds


def _rest(mesh: Mesh, serf: SerfCluster, seconds: float) -> list[Measurement]:
    time.sleep(SETTLE_SECONDS)
    ours = [agent.pid for agent in mesh.agents.values()]
    theirs = [agent.pid for agent in serf.agents.values()]
    tunnels = named("wireguard-go", [agent.host.pid for agent in mesh.agents.values()])
    begun, before = time.monotonic(), [_each(pids) for pids in (ours, theirs, tunnels)]
    time.sleep(seconds)
    after, took = [_each(pids) for pids in (ours, theirs, tunnels)], time.monotonic() - begun
    cpu, serf_cpu, tunnel_cpu = (
        [100 * (b[pid] - a[pid]) / took for pid in a] for a, b in zip(before, after, strict=True)
    )
    resident, serf_resident, tunnel_resident = (
        [memory(pid).resident for pid in pids] for pids in (ours, theirs, tunnels)
    )
    return [
        Measurement(f"processor, idle for {took:.0f} s", "%", cpu, "serf agent", serf_cpu,
                    f"≤ {REACH_CPU_PERCENT:g} %", statistics.median(cpu) <= REACH_CPU_PERCENT),
        Measurement("processor of a wireguard-go meanwhile", "%", tunnel_cpu),
        Measurement("resident memory", "MiB", resident, "serf agent", serf_resident,
                    f"≤ {REACH_RESIDENT_MIB:g} MiB", max(resident) <= REACH_RESIDENT_MIB),
        Measurement("resident memory of a wireguard-go", "MiB", tunnel_resident),
    ]  # fmt: skip


def _deaths(mesh: Mesh, serf: SerfCluster, tries: int) -> list[Measurement]:
    """In each try one of each kind dies by SIGKILL at once, and comes back. The first two carry others' joins."""
    chance = random.Random(1)
    ours: list[float] = []
    theirs: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        for _ in range(tries):
            time.sleep(CALM_SECONDS + chance.random())
            node = chance.choice(list(mesh.agents)[2:])
            other = chance.choice(list(serf.agents)[2:])
            logs = {name: agent.log for name, agent in mesh.agents.items()}
            with LogWatch(_without(logs, node)) as watch, LogWatch(_without(serf.logs, other)) as serf_watch:
                begun = time.monotonic()
                mesh.agents[node].kill()
                killed = time.monotonic()
                serf.agents[other].kill()
                found = pool.submit(
                    watch.first, f"member +node={node} status=failed", LONGEST_SECONDS, LOOK_SECONDS
                )
                seen = serf_watch.first(f"EventMemberFailed: {other} ", LONGEST_SECONDS, LOOK_SECONDS)
                ours.append(max(found.result().values()) - begun)
                theirs.append(max(seen.values()) - killed)
                print(f"  {node} {ours[-1]:.2f} s, {other} {theirs[-1]:.2f} s", flush=True)
                mesh.agents[node].start()
                serf.start(serf.agents[other])
                found = pool.submit(watch.first, _alive(node), LONGEST_SECONDS, LOOK_SECONDS)
                serf_watch.first(f"EventMemberJoin: {other} ", LONGEST_SECONDS, LOOK_SECONDS)
                found.result()
    no_worse = statistics.median(ours) <= statistics.median(theirs)
    return [Measurement("a death known to all", "s", ours, "serf agent", theirs, "median no worse", no_worse)]


def _until_full(mesh: Mesh, asked: Iterable[str]) -> None:
    """Asks each of them until it has all alive and with a handshake, and then no more: asking costs the agents, too."""
    for here in asked:
        until(
            lambda here=here: not _lacking(mesh, here) or None,  # type: ignore[misc]
            LONGEST_SECONDS,
            lambda here=here: f"{here} has all: lacking {_lacking(mesh, here)}",  # type: ignore[misc]
            every=0.1,
        )


def _lacking(mesh: Mesh, here: str) -> list[str]:
    seen = mesh.members(here)
    return [
        there
        for there in mesh.agents
        if there != here
        and ((member := seen.get(there)) is None or member.status != "alive" or not member.lastHandshakeTS)
    ]


def _alive(node: str) -> str:
    return f"member +node={re.escape(node)} status=alive"


def _without(logs: Mapping[str, Path], name: str) -> dict[str, Path]:
    return {other: log for other, log in logs.items() if other != name}


def _each(pids: Iterable[int]) -> dict[int, float]:
    return {pid: cpu_seconds(pid) for pid in pids}


def _renamed(row: Measurement, what: str) -> Measurement:
    return Measurement(
        what, row.unit, row.samples, row.reference, row.reference_samples, row.reach, row.reached
    )
