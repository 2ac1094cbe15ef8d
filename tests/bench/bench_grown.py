"""Simulated clusters that have long been complete: what they send, how they detect failures, false positives."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from tests.bench.measurement import CannotRun, Measurement
from tests.bench.plot import PLOTS, Axis, Line, svg
from tests.sim.collecting import no_collector
from tests.sim.formulas import detection_seconds
from tests.sim.grown import grow
from tests.sim.simulator import Node, Simulator

from wgmesh_agent.gossip.memberlist.config import LAN
from wgmesh_agent.gossip.serf.events import MemberFailed

TITLE = "up to 1,000 simulated nodes: traffic, deaths, and a minute of 10 % loss; LAN profile"
SIZES, QUICK_SIZES = (100, 250, 500, 1000), (50, 100)
REST_SECONDS, LOSSY_SECONDS = 20.0, 60.0
LOSS = 0.1
DEATHS = 5
LATEST_SECONDS = 120.0


def measure(quick: bool, plots: Path = PLOTS) -> list[Measurement]:
    """One thread; the quick form leaves the drawings alone."""
    found = [Grown(size) for size in (QUICK_SIZES if quick else SIZES)]
    if not quick:
        _draw(plots, found)
    return [row for one in found[-2:] for row in one.rows()]


class Grown:
    """A cluster of `size`, and what was measured of it."""

    def __init__(self, size: int) -> None:
        self.size = size
        with no_collector():
            begun = time.process_time()
            simulator = Simulator(size)
            nodes = grow(simulator, size)
            made = time.process_time() - begun
            simulator.run(2.0)
            self.datagrams, self.bytes = _traffic(simulator, nodes, REST_SECONDS)
            self.first, self.all = _deaths(simulator, nodes)
            simulator.with_weather(loss=LOSS)
            _, self.lossy_bytes = _traffic(simulator, simulator.running(), LOSSY_SECONDS)
            self.false_positives = sum(len(node.heard(MemberFailed)) for node in simulator.running())
        print(
            f"  {size} nodes: {self.datagrams:.2f} datagrams, {self.bytes:.0f} bytes a second a node; deaths known "
            f"to all after {statistics.median(self.all):.1f} s, by the formula {detection_seconds(LAN, size):.1f} s; "
            f"{self.false_positives} called failed wrongly ({made:.0f} s to make, "
            f"{time.process_time() - begun:.0f} s of processor time in all)",
            flush=True,
        )

    def rows(self) -> list[Measurement]:
        n = f"{self.size:,} nodes"
        formula = [detection_seconds(LAN, self.size)]
        wrongly = f"{n}: live members reported failed in {LOSSY_SECONDS:g} s of {LOSS:.0%} loss"
        return [
            Measurement(f"{n}: a death known to the first", "s", self.first),
            Measurement(f"{n}: until a failure is known to all", "s", self.all, "formula", formula),
            Measurement(f"{n}: sent when idle, per node", "datagrams/s", [self.datagrams]),
            Measurement(f"{n}: sent when idle, per node", "bytes/s", [self.bytes]),
            Measurement(f"{n}: sent at {LOSS:.0%} loss, a node", "bytes/s", [self.lossy_bytes]),
            Measurement(wrongly, "", [self.false_positives], reach="0", reached=not self.false_positives),
        ]


def _traffic(simulator: Simulator, nodes: list[Node], seconds: float) -> tuple[float, float]:
    """Datagrams, and bytes of datagrams and streams, that a node sends in a second, on average."""

    def sent() -> tuple[int, int]:
        counters = [node.core.counters for node in nodes]
        return sum(c.datagrams_out for c in counters), sum(c.bytes_out + c.stream_bytes_out for c in counters)

    datagrams, octets = sent()
    simulator.run(seconds)
    datagrams_after, octets_after = sent()
    share = len(nodes) * seconds
    return (datagrams_after - datagrams) / share, (octets_after - octets) / share


def _deaths(simulator: Simulator, nodes: list[Node]) -> tuple[list[float], list[float]]:
    """Some die, a third of a second apart: seconds until the first knows of each, and until all do.

    Raises CannotRun if not all learn of all.
    """
    died: dict[str, float] = {}
    for node in nodes[1 : 1 + DEATHS]:
        simulator.run(0.33)
        simulator.kill(node)
        died[node.name] = simulator.now
    living = simulator.running()
    heard: dict[str, list[float]] = {name: [] for name in died}
    end = simulator.now + LATEST_SECONDS
    while any(len(times) < len(living) for times in heard.values()):
        if simulator.now > end:
            raise CannotRun(f"not all of {len(nodes)} nodes know who died after {LATEST_SECONDS:g} s")
        simulator.run(1.0)
        for node in living:
            for moment, event in node.log:
                if isinstance(event, MemberFailed) and event.member.name in heard:
                    heard[event.member.name].append(moment)
            node.log.clear()
    first = [min(heard[name]) - moment for name, moment in died.items()]
    return first, [max(heard[name]) - moment for name, moment in died.items()]


def _draw(folder: Path, found: list[Grown]) -> None:
    folder.mkdir(exist_ok=True)
    nodes = Axis("nodes", logarithmic=True)
    shortest = [(one.size, LAN.suspicion_min_seconds(one.size)) for one in found]
    lines = [
        Line("simulated, median", [(one.size, statistics.median(one.all)) for one in found]),
        Line("formula", [(one.size, detection_seconds(LAN, one.size)) for one in found], dashed=True),
        Line("of that the shortest suspicion", shortest, dashed=True),
    ]
    (folder / "detection.svg").write_text(svg("Until a death is known to all", nodes, Axis("seconds"), lines))
    lines = [
        Line("idle", [(one.size, one.bytes) for one in found]),
        Line(f"at {LOSS:.0%} loss", [(one.size, one.lossy_bytes) for one in found]),
    ]
    (folder / "traffic.svg").write_text(svg("What a node sends", nodes, Axis("bytes a second"), lines))
