"""A userspace tunnel has priority over other programs, unless its priority was set otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wgmesh_agent.linux.backends.priority import NICE, come_first

THREADS = """
import threading, time
for _ in range(3):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print(flush=True)
time.sleep(60)
"""


@contextmanager
def running() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def priorities(pid: int) -> list[int]:
    threads = [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
    return [os.getpriority(os.PRIO_PROCESS, thread) for thread in threads]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise a priority")
def test_all_threads_of_a_tunnel_come_first() -> None:
    with running() as pid:
        come_first(pid)
        assert priorities(pid) == [NICE] * 4


def test_a_priority_that_somebody_chose_stays() -> None:
    with running() as pid:
        os.setpriority(os.PRIO_PROCESS, pid, 5)
        come_first(pid)
        assert 5 in priorities(pid)


def test_without_the_right_to_it_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    with running() as pid:
        come_first(pid)
        assert priorities(pid) == [0] * 4
