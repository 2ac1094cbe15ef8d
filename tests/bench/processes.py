"""What the kernel counts: processor time and memory of a process, memory of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measurement import CannotRun

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
    """How often the process's threads went to sleep: once per wake-up."""
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


def named(name: str, hosts: Iterable[int]) -> list[int]:
    """The processes of that name in the hosts with these first processes."""
    inside = {Path(f"/proc/{pid}/ns/pid").readlink() for pid in hosts}
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().strip() == name and (comm.parent / "ns/pid").readlink() in inside:
                found.append(int(comm.parent.name))
        except OSError:  # it ended in the meantime
            continue
    return found


def require_memory(gib: float, what: str) -> None:
    """Raises CannotRun where `what` needs more memory than is free."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 2**20
    if free < gib:
        raise CannotRun(f"{what}: {gib:.1f} GiB of memory are needed, and {free:.1f} are free")
