"""How long until all others know that a node has died, beside `serf agent`."""

from __future__ import annotations

import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.log_watch import LogWatch
from tests.bench.measurement import Measurement
from tests.bench.serf_cluster import SerfCluster

from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import Network

TITLE = "SIGKILL of one of ten agents until the logs of all nine others say that it failed, LAN profile"
NODES = 10
TRIES, QUICK_TRIES = 20, 3
LONGEST_SECONDS = 90.0
SETTLE_SECONDS = 3.0
OURS = r"member +node={} status=failed"
SERF = r"EventMemberFailed: {} "


def measure(quick: bool) -> list[Measurement]:
    """In each try one of ours and one serf die at once, seen by the same watch; then both come back."""
    chance = random.Random(1)
    ours: list[float] = []
    theirs: list[float] = []
    first_ours: list[float] = []
    first_theirs: list[float] = []
    with Network() as network, ThreadPoolExecutor(2) as pool:
        serf = SerfCluster(network, NODES)
        mesh = Mesh(network, "dying")
        mesh.start(NODES)
        for _ in range(QUICK_TRIES if quick else TRIES):
            # The moment of the kill within the members' probe periods must be random.
            time.sleep(SETTLE_SECONDS + chance.random())
            # The switch to n1 is no different, but it carries the Mesh service: let it live, and s1 too.
            node = chance.randrange(2, NODES + 1)
            agent, other = mesh.agents[f"n{node}"], serf.agents[f"s{node}"]
            logs = {name: one.log for name, one in mesh.agents.items() if one is not agent}
            with LogWatch(logs) as our_watch, LogWatch(_without(serf.logs, f"s{node}")) as serf_watch:
                begun = time.monotonic()
                agent.kill()
                killed = time.monotonic()
                other.kill()
                serf_killed = time.monotonic()
                found = pool.submit(our_watch.first, OURS.format(re.escape(f"n{node}")), LONGEST_SECONDS)
                seen = serf_watch.first(SERF.format(re.escape(f"s{node}")), LONGEST_SECONDS)
                ours.append(max(found.result().values()) - begun)
                first_ours.append(min(found.result().values()) - begun)
                theirs.append(max(seen.values()) - killed)
                first_theirs.append(min(seen.values()) - killed)
                print(
                    f"  n{node} {ours[-1]:.2f} s, s{node} {theirs[-1]:.2f} s "
                    f"(killing took {(killed - begun) * 1000:.0f} and {(serf_killed - killed) * 1000:.0f} ms)",
                    flush=True,
                )
            agent.start()
            serf.start(other)
            mesh.wait_until_full()
            serf.wait_until_full()
    last = Measurement("to all nine", "s", ours, "serf agent", theirs, "median no worse")
    return [
        Measurement(last.what, "s", ours, "serf agent", theirs, last.reach, (last.ratio or 0.0) <= 1.0),
        Measurement("to the first of the nine", "s", first_ours, "serf agent", first_theirs),
    ]


def _without(logs: dict[str, Path], name: str) -> dict[str, Path]:
    return {other: log for other, log in logs.items() if other != name}
