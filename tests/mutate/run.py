#!/usr/bin/env python3
"""How many small changes of the code the tests detect: `make mutate`, or `tests/mutate/run.py [PACKAGE …]`.

Draws a seeded sample of mutants (tests/mutate/mutants.py) of the modules without I/O in PACKAGES, and runs the
package's own tests on each: those that pass through the changed function, the fastest first, in a process forked from
one that has imported the libraries. Prints each package's score, and each survivor with its place and the change;
build/mutate/survivors.txt keeps them. The mutants in equivalent.toml have no effect, with the reason of each: they
are drawn, not tried, and counted separately. Maintained tools do not fit: mutmut 3 requires its sources in `.` or
`src`, and mutates nothing outside of functions, where the tables of gossip/wire are; cosmic-ray starts pytest for
each mutant: hours for a thousand.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
import tomllib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

import coverage
import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.mutate.mutants import Mutant

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "node-agent"
# What is mutated, and by whose tests it is judged.
PACKAGES = {
    "wireguard": ("tests/unit/wireguard",),
    "gossip/wire": ("tests/unit/gossip/wire", "tests/vectors"),
    "mesh/membership": ("tests/unit/mesh/membership", "tests/unit/mesh/psk"),
    "mesh/join": ("tests/unit/mesh/join",),
}
REPORT = ROOT / "build/mutate/survivors.txt"
OWN_FAULT = 70
# For what waits without end; who computes without end is stopped by processor time.
LONGEST_SECONDS = 600
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Baseline:
    """The tests of a package without any mutant: who runs which line, how long each takes, what all import."""

    tests_of_line: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]
    libraries: list[str]

    def tests_for(self, mutant: Mutant) -> list[str]:
        """The tests that can notice it, by node id."""
        if mutant.function_lines is None:
            return list(self.seconds)
        lines = self.tests_of_line.get(str(ROOT / mutant.path), {})
        return list({test for line in mutant.function_lines for test in lines.get(line, []) if test})


@dataclass(slots=True)
class Score:
    """What became of a package's mutants."""

    killed: int = 0
    timed_out: int = 0
    equivalent: int = 0
    survivors: list[Mutant] = field(default_factory=list)

    def __str__(self) -> str:
        noticed = self.killed + self.timed_out
        total = noticed + len(self.survivors)
        return (
            f"{noticed} of {total} killed ({noticed / max(total, 1):.1%}), {self.timed_out} of them by time; "
            f"{len(self.survivors)} survived; {self.equivalent} equivalent"
        )


def main() -> int:
    """Runs what is asked for; the exit status."""
    parser = argparse.ArgumentParser(description="Runs the tests on a seeded sample of mutants.")
    parser.add_argument(
        "packages", nargs="*", metavar="PACKAGE", help=f"of {', '.join(PACKAGES)}; all without any"
    )
    parser.add_argument("--mutants", type=int, default=1000, help="how many in all; 0: all that there are")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--modules", nargs="*", metavar="MODULE", help="of the packages, by file name; all without"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if unknown := set(arguments.packages) - set(PACKAGES):
        parser.error(f"no such package: {', '.join(sorted(unknown))}")
    os.chdir(ROOT)
    _shadow_foreign_tests()
    names = arguments.packages or list(PACKAGES)
    trees, found = _mutants(names, set(arguments.modules or ()))
    drawn = _sample(
        [(name, mutant) for name in names for mutant in found[name]], arguments.mutants, arguments.seed
    )
    print(
        f"{sum(map(len, found.values()))} mutants, {len(drawn)} drawn with seed {arguments.seed}", flush=True
    )
    storage = REPORT.parent / "hypothesis"
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(storage)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    with REPORT.open("w") as report:
        for name in names:
            mutants = [mutant for package, mutant in drawn if package == name]
            score = _judge(name, trees, mutants, arguments.jobs)
            for line in (f"{name}: {score}", *(f"  {survivor}" for survivor in score.survivors)):
                print(line, flush=True)
                print(line, file=report)
    shutil.rmtree(storage, ignore_errors=True)
    return 0


def _shadow_foreign_tests() -> None:
    # pystun3 brings a package `tests` of its own, which would be found instead of this project's.
    sys.modules["tests"] = ModuleType("tests")
    sys.modules["tests"].__path__ = [str(ROOT / "tests")]


def _mutants(
    names: Iterable[str], modules: Collection[str]
) -> tuple[dict[str, ast.Module], dict[str, list[Mutant]]]:
    """The tree of each module by path, and each package's mutants: of all its modules, if none is named."""
    from tests.mutate import mutants

    trees: dict[str, ast.Module] = {}
    found: dict[str, list[Mutant]] = {name: [] for name in names}
    for name in found:
        for module in pure_modules(name):
            if modules and module.stem not in modules:
                continue
            path = str(module.relative_to(ROOT))
            trees[path], of_module = mutants.find(path, module.read_text())
            found[name] += of_module
    return trees, found


def pure_modules(package: str) -> list[Path]:
    """The modules of a package that the import rules hold to be without I/O."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    shells = {name for rule in rules for name in rule.get("protected_modules", ())}
    return [
        module
        for module in sorted((AGENT / "wgmesh_agent" / package).rglob("*.py"))
        if _module_name(module) not in shells
    ]


def _module_name(path: Path) -> str:
    return ".".join(path.relative_to(AGENT).with_suffix("").parts).removesuffix(".__init__")


def _sample(all_of_them: list[tuple[str, Mutant]], size: int, seed: int) -> list[tuple[str, Mutant]]:
    if not 0 < size < len(all_of_them):
        return all_of_them
    return random.Random(seed).sample(all_of_them, size)


def _judge(name: str, trees: dict[str, ast.Module], mutants: Sequence[Mutant], jobs: int) -> Score:
    baseline = _measure(name)
    for library in baseline.libraries:
        with contextlib.suppress(Exception):
            importlib.import_module(library)
    from tests.mutate import equivalent

    known = equivalent.read()
    tried = [mutant for mutant in mutants if equivalent.key(mutant) not in known]
    score = Score(equivalent=len(mutants) - len(tried))
    waiting = iter(tried)
    running: dict[int, tuple[ForkProcess, Mutant, float]] = {}
    while True:
        while len(running) < jobs and (mutant := next(waiting, None)):
            tests = sorted(baseline.tests_for(mutant), key=baseline.seconds.__getitem__)
            if not tests:
                score.survivors.append(mutant)
                continue
            cpu_seconds = 20 + 10 * int(sum(baseline.seconds[test] for test in tests))
            process = FORK.Process(target=_try_mutant, args=(trees[mutant.path], mutant, tests, cpu_seconds))
            process.start()
            running[process.sentinel] = process, mutant, time.monotonic() + LONGEST_SECONDS
        if not running:
            break
        wait(list(running), timeout=1)
        for sentinel, (process, mutant, deadline) in list(running.items()):
            overdue = process.is_alive() and time.monotonic() > deadline
            if overdue:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid or 0, signal.SIGKILL)
            elif process.is_alive():
                continue
            process.join()
            del running[sentinel]
            if overdue or process.exitcode == -signal.SIGXCPU:
                score.timed_out += 1
            elif process.exitcode == OWN_FAULT:
                raise SystemExit(f"the mutant could not be tried: {mutant}")
            elif process.exitcode == 0:
                score.survivors.append(mutant)
                print(f"  survived: {mutant}", flush=True)
            else:
                score.killed += 1
    score.survivors.sort(key=lambda mutant: (mutant.path, mutant.line))
    return score


def _measure(name: str) -> Baseline:
    receive, send = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_record, args=(name, send))
    process.start()
    send.close()
    try:
        baseline: Baseline = receive.recv()
    except EOFError:
        raise SystemExit(f"{name}: its tests fail without any mutant") from None
    process.join()
    return baseline


def _record(name: str, send: Connection) -> None:
    measured = coverage.Coverage(
        data_file=None, config_file=False, source=[str(AGENT / "wgmesh_agent" / name)]
    )
    recorder = Recorder(measured)
    measured.start()
    status = _pytest(PACKAGES[name], recorder)
    measured.stop()
    if status == 0:
        data = measured.get_data()
        lines = {path: data.contexts_by_lineno(path) for path in data.measured_files()}
        send.send(Baseline(lines, recorder.seconds, list(_libraries())))
    os._exit(0)


def _libraries() -> Iterator[str]:
    own = ("wgmesh_agent", "wgmesh_api", "wgmesh_operator", "tests", "conftest", "__main__")
    return (name for name in list(sys.modules) if name.partition(".")[0] not in own)


def _try_mutant(tree: ast.Module, mutant: Mutant, tests: list[str], cpu_seconds: int) -> None:
    status = OWN_FAULT
    try:
        os.setpgid(0, 0)
        # Processor time: an endless loop takes it, and a test on a machine that is busy with other things does not.
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
        mutant.apply()
        sys.meta_path.insert(0, Finder(_module_name(ROOT / mutant.path), ROOT / mutant.path, tree))
        status = _pytest(sorted({test.partition("::")[0] for test in tests}), Chooser(tests))
    finally:
        os._exit(status)


def _pytest(paths: Sequence[str], plugin: object) -> int:
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0"]
    options += [
        "-m",
        "not slow and not heavy",
        "-o",
        "timeout=60",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    return int(pytest.main([*options, *paths], [plugin, FirstFailure()]))


class FirstFailure:
    """The first example that fails is enough, and none is kept."""

    def pytest_configure(self) -> None:
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        profile = hypothesis.settings.get_profile("wgmesh")
        hypothesis.settings.register_profile("mutate", profile, phases=phases, database=None)
        hypothesis.settings.load_profile("mutate")


class Recorder:
    """Reports to coverage which test is running, and how long it took."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.seconds: dict[str, float] = {}
        self._measured = measured

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._measured.switch_context(item.nodeid)
        begun = time.monotonic()
        result = yield
        self.seconds[item.nodeid] = time.monotonic() - begun
        return result


class Chooser:
    """Runs these tests alone, in this order, with all their parameters: a mutant may change what those are called."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._order = {test: place for place, test in enumerate(wanted)}
        self._functions = {_function(test) for test in wanted}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if _function(item.nodeid) in self._functions]
        items.sort(key=lambda item: self._order.get(item.nodeid, len(self._order)))


def _function(test: str) -> str:
    return test.partition("[")[0]


class Finder(importlib.abc.MetaPathFinder):
    """Imports one module from a tree instead of from its file."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name, self._path, self._tree = name, path, tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = TreeLoader(fullname, str(self._path))
        loader.tree = self._tree
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


class TreeLoader(importlib.machinery.SourceFileLoader):
    """Loads a tree; its source is still what the file says."""

    tree: ast.Module

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self.tree, self.path, "exec")
        return code


if __name__ == "__main__":
    sys.exit(main())
