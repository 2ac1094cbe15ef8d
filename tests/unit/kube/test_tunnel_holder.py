"""The process that keeps wireguard-go running in a pod: small, prompt, and ended with its tunnel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

INTERFACE = "wgblue"
MAX_RESIDENT_KIB = 8 * 1024
PROGRAM = """#!/bin/sh
echo "$@" > "{folder}/arguments"
echo $$ > "{folder}/pid"
trap 'echo terminated > "{folder}/end"; exit 0' TERM
while :; do sleep 0.05; done
"""
HOLD = "import os, sys, pathlib; from wgmesh_agent.kube.tunnel_holder import run_tunnel; \
sys.exit(run_tunnel(os.environ, pathlib.Path(sys.argv[1])))"


class Holder:
    """A holder that runs a program of the test's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sockets = folder / "sockets"
        (folder / "bin").mkdir()
        program = folder / "bin" / "wireguard-go"
        program.write_text(PROGRAM.format(folder=folder))
        program.chmod(0o755)
        path = f"{program.parent}:{os.environ['PATH']}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.sockets)],
            env={"PATH": path, "WGMESH_MESH_NAME": "blue"},
        )
        eventually(lambda: self.command().startswith("/bin/sh") and self.handles(signal.SIGTERM))

    def command(self) -> str:
        return Path(f"/proc/{self.process.pid}/cmdline").read_text().replace("\0", " ")

    def handles(self, one: signal.Signals) -> bool:
        """Whether its trap is set."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (caught,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(caught >> (one - 1) & 1)

    def request(self) -> None:
        (self.sockets / f"{INTERFACE}.wanted").touch()

    def withdraw(self) -> None:
        (self.sockets / f"{INTERFACE}.wanted").unlink()

    def tunnel(self) -> int:
        """The process that runs now."""
        pid = self.folder / "pid"
        eventually(lambda: pid.exists() and pid.read_text().strip() != "")
        found = int(pid.read_text())
        pid.unlink()
        return found


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    made = Holder(tmp_path)
    yield made
    # It ends its program; killed, it would leave it behind.
    made.process.terminate()
    assert made.process.wait(20) == 0


def test_program_runs_for_its_interface_once_requested(holder: Holder) -> None:
    time.sleep(0.7)
    assert not (holder.folder / "pid").exists()
    holder.request()
    holder.tunnel()
    assert (holder.folder / "arguments").read_text() == f"-f {INTERFACE}\n"


def test_killed_program_runs_again_within_a_second(holder: Holder) -> None:
    holder.request()
    os.kill(holder.tunnel(), signal.SIGKILL)
    began = time.monotonic()
    holder.tunnel()
    assert time.monotonic() - began < 5.0  # on a busy machine
    assert holder.process.poll() is None


def test_withdrawn_program_does_not_run_again(holder: Holder) -> None:
    holder.request()
    first = holder.tunnel()
    holder.withdraw()
    os.kill(first, signal.SIGTERM)
    time.sleep(1.2)
    assert not (holder.folder / "pid").exists()


def test_terminated_holder_ends_its_program_first(holder: Holder) -> None:
    holder.request()
    holder.tunnel()
    holder.process.terminate()
    assert holder.process.wait(20) == 0
    assert (holder.folder / "end").read_text() == "terminated\n"


def test_idle_holder_ends_at_once_when_terminated(holder: Holder) -> None:
    holder.process.terminate()
    assert holder.process.wait(20) == 0


def test_holder_has_no_interpreter_in_memory(holder: Holder) -> None:
    status = Path(f"/proc/{holder.process.pid}/status").read_text()
    (resident,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    assert resident <= MAX_RESIDENT_KIB


def test_missing_program_is_reported(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env={"PATH": str(tmp_path), "WGMESH_MESH_NAME": "blue"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert found.stderr == "wgmesh-agent: wireguard-go is not installed here\n"
