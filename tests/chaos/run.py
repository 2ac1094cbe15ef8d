#!/usr/bin/env python3
"""Seeded faults: `make chaos`, or `tests/chaos/run.py GROUND [--seed N | --seeds FIRST-LAST]`.

Grounds: `virtual` (agents in virtual time), `netns` (real agents on hosts of namespaces), `boots` (a machine that boots
with things missing), `hostile` (real agents under the attacks of a hostile member and of an outsider), `kernel` (as
`netns`, on kernel WireGuard, in weather made by netem: in a guest that has both), `figures` (recovery measured on real
agents; `--write` puts it into docs/benchmarks.md), `all`. Prints each schedule's outcome, in the end how many
passed and the worst recovery; a schedule that failed prints its seed, itself, and how to run it again.
Exit status 1 if any failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
# pystun3 brings a package `tests` of its own, which would be found instead of this project's.
sys.modules["tests"] = ModuleType("tests")
sys.modules["tests"].__path__ = [str(ROOT / "tests")]
GROUNDS = ("virtual", "netns", "boots", "hostile", "kernel", "figures", "all")
VIRTUAL_SEEDS, NETNS_SEEDS, KERNEL_SEEDS, BOOT_SEEDS = range(1, 301), range(1, 13), range(1, 9), range(1, 21)
HOSTILE_SEEDS = range(1, 2)
UML = ROOT / "tests/kernel/uml"
GUEST_SECONDS = 1500
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Result:
    """One schedule's end: `recovery` in the ground's seconds, None if a promise was broken."""

    seed: int
    recovery: float | None
    said: str
    seconds: float


def main() -> int:
    """Runs what is asked for; the exit status."""
    parser = argparse.ArgumentParser(description="Runs seeded schedules of faults.")
    parser.add_argument("ground", choices=GROUNDS, nargs="?", default="all")
    parser.add_argument("--seed", type=int, help="this one alone; negative: one of those with a name")
    parser.add_argument("--seeds", type=_range, help="FIRST-LAST")
    parser.add_argument("--seconds", type=float, help="`hostile` for so long, and without its rest")
    parser.add_argument("--here", action="store_true", help="`kernel` in this kernel, not in a guest")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    arguments = parser.parse_args()
    seeds = [arguments.seed] if arguments.seed is not None else arguments.seeds
    passed = True
    if arguments.ground in ("virtual", "all"):
        passed &= _virtual(seeds or [*_named(), *VIRTUAL_SEEDS])
    if arguments.ground in ("netns", "all"):
        passed &= _report("netns", map(_real, seeds or NETNS_SEEDS))
    if arguments.ground in ("boots", "all"):
        passed &= _report("boots", map(_booted, seeds or BOOT_SEEDS))
    if arguments.ground in ("hostile", "all"):
        passed &= _report("hostile", (_besieged(seed, arguments.seconds) for seed in seeds or HOSTILE_SEEDS))
    if arguments.ground in ("kernel", "all"):
        seeds = seeds or KERNEL_SEEDS
        passed &= _report("kernel", map(_in_kernel, seeds)) if arguments.here else _in_guest(seeds)
    if arguments.ground in ("figures", "all"):
        passed &= _figures(write=arguments.write)
    return 0 if passed else 1


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1)


def _named() -> list[int]:
    from tests.chaos.fault_catalogue import NAMED

    return list(NAMED)


def _virtual(seeds: list[int]) -> bool:
    if len(seeds) == 1:
        return _report("virtual", map(_simulated, seeds))
    with ProcessPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:
        return _report("virtual", pool.map(_simulated, seeds))


def _simulated(seed: int) -> Result:
    from tests.chaos import virtual_mesh
    from tests.chaos.fault_catalogue import NAMED, VIRTUAL, VIRTUAL_BOUND_SECONDS
    from tests.chaos.schedule import draw

    def run() -> tuple[float, str]:
        schedule = NAMED[seed] if seed in NAMED else draw(seed, VIRTUAL)
        outcome = virtual_mesh.run(schedule, VIRTUAL_BOUND_SECONDS)
        return outcome.recovery, f"{outcome.pings} pings, {outcome.looks} looks, trace {outcome.trace:08x}"

    return _result(seed, run)


def _real(seed: int) -> Result:
    from tests.chaos import hosts
    from tests.chaos.fault_catalogue import NETNS
    from tests.chaos.schedule import draw

    return _result(seed, lambda: hosts.run(draw(seed, NETNS)))


def _booted(seed: int) -> Result:
    from tests.netns import boots

    return _result(seed, lambda: boots.run(seed))


def _besieged(seed: int, seconds: float | None) -> Result:
    from tests.hostile import siege

    return _result(seed, lambda: siege.run(seed) if seconds is None else siege.run_briefly(seed, seconds))


def _in_kernel(seed: int) -> Result:
    from tests.chaos import hosts
    from tests.chaos.fault_catalogue import KERNEL, NAMED
    from tests.chaos.schedule import draw

    schedule = NAMED[seed] if seed in NAMED else draw(seed, KERNEL)
    return _result(seed, lambda: hosts.run(schedule, has_netem=True))


def _in_guest(seeds: Iterable[int]) -> bool:
    """Each schedule in a guest of its own: what one leaves behind is not the next one's."""
    subprocess.run([UML / "build"], check=True)
    environment = {**os.environ, "UML_SECONDS": str(GUEST_SECONDS)}
    command: list[str | Path] = [UML / "run", sys.executable, __file__, "kernel", "--here", "--seed"]
    ends = [subprocess.run([*command, str(seed)], env=environment, check=False) for seed in seeds]
    return not any(end.returncode for end in ends)


def _result(seed: int, run: Callable[[], tuple[float, str]]) -> Result:
    begun = time.monotonic()
    try:
        recovery, said = run()
    except AssertionError as error:
        return Result(seed, None, str(error), time.monotonic() - begun)
    return Result(seed, recovery, said, time.monotonic() - begun)


def _report(ground: str, results: Iterable[Result]) -> bool:
    broken, passed = [], []
    for result in results:
        if result.recovery is None:
            broken.append(result)
            print(f"{ground} {result.seed}: BROKEN: {result.said}", flush=True)
        else:
            passed.append(result)
            print(
                f"{ground} {result.seed}: whole {result.recovery:.1f} s after the last fault; {result.said}",
                flush=True,
            )
    worst = max(passed, key=lambda result: result.recovery or 0.0, default=None)
    print(f"{ground}: {len(passed)} of {len(passed) + len(broken)} schedules passed", end="")
    print(f"; the worst recovery took {worst.recovery:.1f} s (seed {worst.seed})" if worst else "")
    return not broken


def _figures(*, write: bool) -> bool:
    from tests.bench import bench_recovery, measurement, page

    load = page.load()
    rows = bench_recovery.measure(quick=False)
    print(measurement.text_table(rows))
    if write:
        page.write("recovery", rows, load)
    return True


if __name__ == "__main__":
    sys.exit(main())
