#!/usr/bin/env python3
"""Measures this program beside its references: `make bench`, or `tests/bench/run.py [NAME …] [--quick] [--write]`.

Prints a table for each bench. A figure that is not reached is shown as such and is no failure: machines differ.
Exit status 1 only if a bench could not be run.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
BENCHES = {
    "join": "bench_join",
    "crowd": "bench_crowd",
    "detection": "bench_detection",
    "hundred": "bench_hundred",
    "recovery": "bench_recovery",
    "idle": "bench_idle",
    "wireguard": "wireguard_tables",
    "gossip": "bench_gossip",
    "steps": "bench_steps",
    "storm": "bench_storm",
    "grown": "bench_grown",
    "lifeguard": "bench_lifeguard",
    "largest": "bench_largest",
    "operator": "bench_operator",
}


def main() -> int:
    """Runs the benches named; the exit status."""
    parser = argparse.ArgumentParser(description="Measures wgmesh beside its references.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHES]
    if unknown:
        parser.error(f"no such bench: {', '.join(unknown)}")
    # Agents are to start as installed programs do: from byte code that is kept.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # pystun3 brings a package `tests` of its own, which would be found instead of this project's.
    sys.modules["tests"] = ModuleType("tests")
    sys.modules["tests"].__path__ = [str(ROOT / "tests")]
    from tests.bench import measurement, page

    # Ended from outside, it still ends the hosts it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(page.machine())
    failed = []
    for name in arguments.names or BENCHES:
        bench = import_module(f"tests.bench.{BENCHES[name]}")
        print(f"\n{name}: {bench.TITLE}", flush=True)
        begun, load = time.monotonic(), page.load()
        try:
            rows = bench.measure(arguments.quick)
        except Exception as error:
            print(f"{name} could not be run: {type(error).__name__}: {error}", file=sys.stderr)
            failed.append(name)
            continue
        print(measurement.text_table(rows))
        print(f"({time.monotonic() - begun:.0f} s; load before the start {load:.1f})", flush=True)
        if arguments.write:
            page.write(name, rows, load)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
