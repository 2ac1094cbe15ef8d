"""As bench_grown, of 5,000 nodes: 25 million records, which is a matter of memory."""

from __future__ import annotations

from tests.bench.bench_grown import Grown
from tests.bench.measurement import Measurement
from tests.bench.processes import require_memory

TITLE = "5,000 simulated nodes: traffic, deaths, and a minute of 10 % loss; LAN profile"
SIZE, QUICK_SIZE = 5000, 500
NEEDED_GIB = 10.0


def measure(quick: bool) -> list[Measurement]:
    """One thread. Raises CannotRun where memory does not suffice."""
    if not quick:
        require_memory(NEEDED_GIB, f"{SIZE:,} simulated nodes")
    return Grown(QUICK_SIZE if quick else SIZE).rows()
