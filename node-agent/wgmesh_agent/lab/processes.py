"""Children of processes, from /proc on any kernel."""

from __future__ import annotations

from pathlib import Path


def children_of(parent: int) -> list[int]:
    """The process numbers of a process's children, the oldest first."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # it ended in the meantime
            continue
        # The second field is a name in parentheses, which may contain anything; the parent comes two fields after it.
        fields = text.rpartition(")")[2].split()
        if int(fields[1]) == parent:
            found.append((int(fields[19]), int(stat.parent.name)))
    return [number for _, number in sorted(found)]
