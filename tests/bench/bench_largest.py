"""As bench_grown, of 5,000 nodes: 25 million records, which is a matter of memory."""

from __future__ import annotations

from pathlib import Path

from tests.bench.bench_grown import Grown
from tests.bench.measurement import CannotRun, Measurement

TITLE = "5,000 simulated nodes: traffic, deaths, and a minute of 10 % loss; LAN profile"
SIZE, QUICK_SIZE = 5000, 500
NEEDED_GIB = 14.0


def measure(quick: bool) -> list[Measurement]:
    """One thread. Raises CannotRun where memory does not suffice."""
    if not quick:
        _require_memory(NEEDED_GIB)
    return Grown(QUICK_SIZE if quick else SIZE).rows()


def _require_memory(gib: float) -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 2**20
    if free < gib:
        raise CannotRun(f"{SIZE:,} simulated nodes take {gib:g} GiB of memory, and {free:.1f} are free")
