"""Nodes that join all at once, simulated: real gossip cores in virtual time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measurement import CannotRun, Measurement
from tests.bench.plot import PLOTS, Axis, Line, svg
from tests.sim.collecting import no_collector
from tests.sim.formulas import storm_seconds
from tests.sim.simulator import Simulator

from wgmesh_agent.gossip.memberlist.config import LAN

TITLE = "up to 1,000 simulated nodes that join within a second, until all know all; LAN profile"
SIZES, QUICK_SIZES = (50, 100, 250, 500, 1000), (25, 50)
REACH = 1.2
LATEST_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Storm:
    """One that is over; `known` has moments and the share of all ordered pairs that knew each other."""

    size: int
    seconds: float
    known: tuple[tuple[float, float], ...]
    sent_bytes: float


def measure(quick: bool, plots: Path = PLOTS) -> list[Measurement]:
    """One thread; the quick form leaves the drawings alone."""
    storms = [storm(size) for size in (QUICK_SIZES if quick else SIZES)]
    if not quick:
        _draw(plots, storms)
    return [row for found in storms[-3:] for row in _rows(found)]


def storm(size: int) -> Storm:
    """Raises CannotRun if they do not know each other in the end."""
    with no_collector():
        begun = time.process_time()
        simulator = Simulator(size)
        nodes = simulator.cluster(size)
        known = [(0.0, 1 / size)]
        while known[-1][1] < 1.0:
            if simulator.now > LATEST_SECONDS:
                raise CannotRun(
                    f"{size} nodes that joined at once do not know each other after {simulator.now:g} s"
                )
            simulator.run(0.05)
            known.append((simulator.now, sum(node.core._members.alive_count for node in nodes) / size**2))
        counters = [node.core.counters for node in nodes]
        sent = sum(counted.bytes_out + counted.stream_bytes_out for counted in counters) / size
    print(
        f"  {size} nodes: {known[-1][0]:.2f} s, by the formula {storm_seconds(LAN, size):.2f} s "
        f"({time.process_time() - begun:.0f} s of processor time)",
        flush=True,
    )
    return Storm(size, known[-1][0], tuple(known), sent)


def _rows(found: Storm) -> list[Measurement]:
    formula, n = storm_seconds(LAN, found.size), f"{found.size:,} nodes"
    reached = found.seconds <= REACH * formula
    reach = f"≤ {REACH:g} × the formula"
    return [
        Measurement(f"{n}: all know all", "s", [found.seconds], "formula", [formula], reach, reached),
        Measurement(f"{n}: sent until then, a node", "KiB", [found.sent_bytes / 1024]),
    ]


def _draw(folder: Path, storms: list[Storm]) -> None:
    folder.mkdir(exist_ok=True)
    title = "Nodes that join within a second: what they know of each other"
    lines = [Line(f"{one.size:,} nodes", [(at, 100 * share) for at, share in one.known]) for one in storms]
    (folder / "storm.svg").write_text(svg(title, Axis("seconds"), Axis("% of all pairs"), lines))
    lines = [
        Line("simulated", [(one.size, one.seconds) for one in storms]),
        Line("formula", [(one.size, storm_seconds(LAN, one.size)) for one in storms], dashed=True),
    ]
    title = "Nodes that join within a second: until all know all"
    (folder / "convergence.svg").write_text(
        svg(title, Axis("nodes", logarithmic=True), Axis("seconds"), lines)
    )
