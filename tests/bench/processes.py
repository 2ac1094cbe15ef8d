"""What the kernel counts of a process: processor time and memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_KIB_A_MIB = 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB resident, and the share of it when pages are divided among all who map them (PSS)."""

    resident: float
    proportional: float


def cpu_seconds(pid: int) -> float:
    """User and system time that the process has used, all threads, ended ones too; to 10 ms."""
    # The program's name, in brackets, may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def memory(pid: int) -> Memory:
    """Memory of the process now."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return Memory(sizes["Rss"] / _KIB_A_MIB, sizes["Pss"] / _KIB_A_MIB)


def voluntary_switches(pid: int) -> int:
    """How often the process's threads have gone to sleep: once for each time that one was woken up."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                total += int(line.split()[1])
    return total


def child_of(pid: int) -> int:
    """The first child of a process. Raises LookupError if it has none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if not children:
        raise LookupError(f"process {pid} has no child")
    return int(children[0])
