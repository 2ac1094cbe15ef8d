"""A tunnel that is a program comes before other programs, as the kernel's own WireGuard does.

While it waits its turn its socket runs over, and packets of the mesh are lost for an agent's, or anybody's, work.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICE = -10


def come_first(pid: int) -> None:
    """Has all threads of a process, and those that they start, run before other programs.

    Not where its priority has been chosen already, nor where this process may not do that (CAP_SYS_NICE).
    """
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError, PermissionError):
            if os.getpriority(os.PRIO_PROCESS, int(thread.name)) == 0:
                os.setpriority(os.PRIO_PROCESS, int(thread.name), NICE)
