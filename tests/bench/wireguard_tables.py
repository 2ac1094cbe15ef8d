"""bench_wireguard.py on both grounds, its tables read back as rows beside what they are to reach."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.bench.measurement import CannotRun, Measurement

TITLE = "programming peers beside `wg addconf`, and throughput beside a tunnel made with `wg` (kernel: in the guest)"
PROGRAM = Path(__file__).with_name("bench_wireguard.py")
GROUNDS = ("userspace", "kernel")
QUICK = ("--rounds", "1", "--seconds", "1")
LONGEST_SECONDS = 900
REACH_PROGRAMMING_RATIO = 2.0
REACH_THROUGHPUT_RATIO = 0.98
_TITLE = re.compile(r"^(programming|throughput)\b.*$")


def measure(quick: bool) -> list[Measurement]:
    """Its medians or best figures, as its tables say; the ratios are made from them."""
    rows: list[Measurement] = []
    for ground in GROUNDS:
        command = [sys.executable, str(PROGRAM), "--ground", ground, *(QUICK if quick else ())]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise CannotRun(f"no answer from the {ground} ground within {LONGEST_SECONDS} s") from error
        found = read(done.stdout)
        if done.returncode != 0 or not found:
            raise CannotRun(f"the {ground} ground: {(done.stderr.strip() or done.stdout.strip())[-1000:]}")
        rows += found
    return rows


def read(text: str) -> list[Measurement]:
    """Rows from the tables in `text`; raises CannotRun for a table without the columns that are looked for."""
    rows: list[Measurement] = []
    title = ""
    heads: list[str] = []
    for line in text.splitlines():
        if _TITLE.match(line):
            title, heads = line, []
        elif title and line.startswith("|") and not line.startswith("|-"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not heads:
                heads = cells
                continue
            table = dict(zip(heads, cells, strict=True))
            try:
                rows += [_programming(title, table)] if "peers" in table else _throughput(title, table)
            except (KeyError, ValueError) as error:
                raise CannotRun(f"{PROGRAM.name} shows other tables than expected: {error!r}") from error
    return rows


def _programming(title: str, table: dict[str, str]) -> Measurement:
    ours, theirs = _number(table["read+diff+apply"]), _number(table["wg addconf"])
    what = title.replace("programming", f"programming {table['peers']} peers")
    return Measurement(
        what,
        "ms",
        [ours],
        "wg addconf",
        [theirs],
        f"≤ {REACH_PROGRAMMING_RATIO:g}×",
        ours <= REACH_PROGRAMMING_RATIO * theirs,
    )


def _throughput(title: str, table: dict[str, str]) -> list[Measurement]:
    ours, theirs = _number(table["ours"]), _number(table["by hand with wg"])
    again = _number(table["by hand, a second tunnel"])
    return [
        Measurement(
            title,
            "Gbit/s",
            [ours],
            "by hand with wg",
            [theirs],
            f"≥ {REACH_THROUGHPUT_RATIO:g}",
            ours >= REACH_THROUGHPUT_RATIO * theirs,
        ),
        Measurement(
            "what chance makes of it: a second tunnel by hand", "Gbit/s", [again], "by hand with wg", [theirs]
        ),
    ]


def _number(cell: str) -> float:
    return float(cell.split()[0].replace(",", ""))
