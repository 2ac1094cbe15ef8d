"""Which process of this machine listens on a TCP port, from /proc, as `ss -ltnp` has it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

LISTEN = "0A"
"""TCP_LISTEN of include/net/tcp_states.h, as /proc/net/tcp writes it."""
UNKNOWN = "another program, which this process cannot see"


def listener(port: int, proc: Path = Path("/proc")) -> str:
    """The name and id of the process, such as `registry (process 812)`; a phrase where this process cannot see it."""
    inodes = set(_inodes(port, proc))
    for process in sorted(path for path in proc.glob("[0-9]*") if path.name.isdecimal()):
        if _holds(process, inodes):
            return f"{_name(process)} (process {process.name})"
    return UNKNOWN


def _inodes(port: int, proc: Path) -> Iterator[str]:
    """Of the sockets that listen there, of both families."""
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text("ascii", "replace").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == LISTEN and fields[1].rpartition(":")[2] == f"{port:04X}":
                yield fields[9]


def _holds(process: Path, inodes: set[str]) -> bool:
    # A process may end, and others' descriptors are not everybody's to see.
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]") in inodes:
                    return True
    return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "a program"
