"""Gives a userspace tunnel priority over other programs, like kernel WireGuard has.

While it waits for the processor its socket buffer overflows, and packets of the mesh are lost because of an agent's, or
any other program's, work.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICE = -10


def come_first(pid: int) -> None:
    """Runs all threads of a process, and those that they start, before other programs.

    Not if its priority was set already, nor if this process may not set it (CAP_SYS_NICE).
    """
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError, PermissionError):
            if os.getpriority(os.PRIO_PROCESS, int(thread.name)) == 0:
                os.setpriority(os.PRIO_PROCESS, int(thread.name), NICE)
