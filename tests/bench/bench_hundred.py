"""A hundred real agents, each with a tunnel to each other, and after them a hundred `serf agent`s: joining, resting,
dying.
"""

from __future__ import annotations

import random
import re
import signal
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from tests.bench.log_watch import LogWatch
from tests.bench.measurement import CannotRun, Measurement
from tests.bench.processes import cpu_seconds, memory, named, require_memory
from tests.bench.serf_cluster import SerfCluster

from wgmesh_agent.lab.agent import until
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import Network

TITLE = "a hundred agents with 4,950 tunnels: the last join, rest, deaths; then a hundred `serf agent`s: rest, deaths"
NODES, QUICK_NODES = 100, 30
JOINS, QUICK_JOINS = 5, 2
TRIES, QUICK_TRIES = 10, 3
SETTLE_SECONDS = 30.0
IDLE_SECONDS, QUICK_SECONDS = 90.0, 30.0
LONGEST_SECONDS = 180.0
LOOK_SECONDS = 0.05
"""Pause between two reads of a hundred logs: reading must not load the machine."""
CALM_SECONDS = 15.0
"""Pause between two kills: the last one restarted has rejoined all members, so that failures are detected by idle
clusters.
"""
GIB_A_NODE = 0.09

REACH_JOIN_SECONDS = 15.0
REACH_CPU_PERCENT = 0.6
REACH_RESIDENT_MIB = 80.0


def measure(quick: bool) -> list[Measurement]:
    """The clusters have the machine one after the other: together two hundred would be more than a few cores carry, and
    what the one costs would be found in the other. Raises CannotRun where memory does not suffice.
    """
    return hundred(QUICK_NODES if quick else NODES, quick)


def hundred(size: int, quick: bool) -> list[Measurement]:
    """The same with `size` nodes of each kind."""
    require_memory(GIB_A_NODE * size, f"{size} agents")
    joins, tries = (QUICK_JOINS, QUICK_TRIES) if quick else (JOINS, TRIES)
    seconds = QUICK_SECONDS if quick else IDLE_SECONDS
    with Network() as network:
        nodes = [f"n{number}" for number in range(1, size + joins)]
        for node in nodes:
            network.add_host(node)
        network.introduce()
        mesh = Mesh(network, "hundred")
        _grow(mesh, nodes[: size - 1])
        print(f"  {size - 1} agents joined one after the other", flush=True)
        joined = [_last(mesh, node, leaves=node != nodes[-1]) for node in nodes[size - 1 :]]
        _until_full(mesh, mesh.agents)
        tunnels = named("wireguard-go", [agent.host.pid for agent in mesh.agents.values()])
        rest, memories = _rest([agent.pid for agent in mesh.agents.values()], tunnels, seconds)
        deaths = _deaths(
            mesh.agents,
            {name: agent.log for name, agent in mesh.agents.items()},
            tries,
            lambda name: f"member +node={re.escape(name)} status=failed",
            _alive,
            lambda agent: agent.start(),
        )
    with Network() as network:
        for number in range(1, size + 1):
            network.add_host(f"s{number}")
        network.introduce()
        serf = SerfCluster(network, size)
        print(f"  {size} serf agents", flush=True)
        serf_rest, serf_memories = _rest([agent.pid for agent in serf.agents.values()], [], seconds)
        serf_deaths = _deaths(
            serf.agents,
            serf.logs,
            tries,
            lambda name: f"EventMemberFailed: {name} ",
            lambda name: f"EventMemberJoin: {name} ",
            serf.start,
        )
    n = f"{size} agents"
    cpu, tunnel_cpu = rest
    resident, tunnel_resident = memories
    no_worse = statistics.median(deaths) <= statistics.median(serf_deaths)
    return [
        Measurement(
            f"{n}: the last join, from its admission until a full mesh",
            "s",
            joined,
            reach=f"≤ {REACH_JOIN_SECONDS:g} s",
            reached=statistics.median(joined) <= REACH_JOIN_SECONDS,
        ),
        Measurement(
            f"{n}: processor, idle for {seconds:.0f} s",
            "%",
            cpu,
            "serf agent",
            serf_rest[0],
            f"≤ {REACH_CPU_PERCENT:g} %",
            statistics.median(cpu) <= REACH_CPU_PERCENT,
        ),
        Measurement(f"{n}: processor of a wireguard-go in that time", "%", tunnel_cpu),
        Measurement(
            f"{n}: resident memory",
            "MiB",
            resident,
            "serf agent",
            serf_memories[0],
            f"≤ {REACH_RESIDENT_MIB:g} MiB",
            max(resident) <= REACH_RESIDENT_MIB,
        ),
        Measurement(f"{n}: resident memory of a wireguard-go", "MiB", tunnel_resident),
        Measurement(
            f"{n}: until a failure is known to all",
            "s",
            deaths,
            "serf agent",
            serf_deaths,
            "median no worse",
            no_worse,
        ),
    ]


def _grow(mesh: Mesh, nodes: list[str]) -> None:
    """Starts all agents, each when all members know the previous one, and after a pause of the same duration.

    A join is work for every agent. If the next started before it is done, the backlog on a few cores would grow.

    Raises CannotRun; LabError with the end of its log if an agent has terminated.
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


def _rest(
    agents: list[int], tunnels: list[int], seconds: float
) -> tuple[tuple[list[float], list[float]], tuple[list[float], list[float]]]:
    """Of agents and of tunnels: percent of a core, and MiB resident."""
    time.sleep(SETTLE_SECONDS)
    begun, before = time.monotonic(), [_each(pids) for pids in (agents, tunnels)]
    time.sleep(seconds)
    after, took = [_each(pids) for pids in (agents, tunnels)], time.monotonic() - begun
    busy = [[100 * (b[pid] - a[pid]) / took for pid in a] for a, b in zip(before, after, strict=True)]
    resident = [[memory(pid).resident for pid in pids] for pids in (agents, tunnels)]
    return (busy[0], busy[1]), (resident[0], resident[1])


class _Killable(Protocol):
    def kill(self) -> None:
        """SIGKILL."""


_Agent = TypeVar("_Agent", bound=_Killable)


def _deaths(
    agents: Mapping[str, _Agent],
    logs: Mapping[str, Path],
    tries: int,
    failed: Callable[[str], str],
    alive: Callable[[str], str],
    start: Callable[[_Agent], None],
) -> list[float]:
    """Seconds until the logs of all others say so. In each try one dies by SIGKILL, and comes back; none of the first
    two, which carry others' joins.
    """
    chance = random.Random(1)
    found: list[float] = []
    for _ in range(tries):
        time.sleep(CALM_SECONDS + chance.random())
        name = chance.choice(list(agents)[2:])
        with LogWatch(_without(logs, name)) as watch:
            begun = time.monotonic()
            agents[name].kill()
            found.append(max(watch.first(failed(name), LONGEST_SECONDS, LOOK_SECONDS).values()) - begun)
            print(f"  {name} {found[-1]:.2f} s", flush=True)
            start(agents[name])
            watch.first(alive(name), LONGEST_SECONDS, LOOK_SECONDS)
    return found


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
