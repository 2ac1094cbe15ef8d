"""A host: its own network, processes and /run, on this machine's disk.

`unshare` creates the namespaces; its child is the host's first process. When that is killed, the kernel ends every
process in the host, and with the last one the network: killing it is a power failure. No host outlives the lab.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from wgmesh_agent.lab.command import LabError, run
from wgmesh_agent.lab.processes import children_of

START_SECONDS = 10.0


class Host:
    """One machine. Use `run` for a command, `popen` for a process, `kill` for a power failure."""

    def __init__(self, name: str, disk: Path) -> None:
        """Boots the host.

        Args:
            disk: a folder that survives reboots; mounted on /var/lib/wgmesh in the host.

        Raises:
            LabError: no permission, or `unshare` is missing.
        """
        self.name = name
        self.disk = disk
        disk.mkdir(parents=True, exist_ok=True)
        self._pid = 0
        self._unshare: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[bytes]] = []
        self.boot()

    def boot(self) -> None:
        """Starts the namespaces: an empty network, only the loopback up, and a fresh /run."""
        command = shlex.split(
            "unshare --net --mount --uts --pid --fork --kill-child --mount-proc --propagation private sleep infinity"
        )
        self._unshare = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
        self._pid = self._first_process()
        self.run(["mount", "-t", "tmpfs", "tmpfs", "/run"])
        if os.path.realpath("/var/run") != "/run":
            self.run(["mount", "-t", "tmpfs", "tmpfs", "/var/run"])
        Path("/var/lib/wgmesh").mkdir(parents=True, exist_ok=True)
        self.run(["mount", "--bind", str(self.disk), "/var/lib/wgmesh"])
        self.run(["hostname", self.name], check=False)
        self.run(["ip", "link", "set", "lo", "up"])

    @property
    def pid(self) -> int:
        """The host's first process, by its number on this machine; 0 when it is down."""
        return self._pid

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` in the host."""
        return ["nsenter", f"--target={self._pid}", "--net", "--mount", "--uts", "--pid", "--", *command]

    def run(
        self,
        command: Sequence[str],
        *,
        check: bool = True,
        seconds: float = 30.0,
        env: Mapping[str, str] | None = None,
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the host to its end. Raises LabError."""
        return run(self.inside(command), check=check, seconds=seconds, env=env, text=text)

    def popen(
        self, command: Sequence[str], output: IO[bytes] | int, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a process in the host; standard output and error go to `output`."""
        process = subprocess.Popen(  # noqa: S603
            self.inside(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def kill(self) -> None:
        """Power failure: every process in the host ends at once, its network is removed, its disk stays."""
        if self._unshare is None:
            return
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
        self._unshare.kill()
        self._unshare.wait()
        self._unshare, self._pid = None, 0
        for process in self._started:
            # A process that entered the host ends with the command it ran there.
            process.wait(START_SECONDS)
        self._started.clear()

    def _first_process(self) -> int:
        assert self._unshare is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._unshare.poll() is not None:
                raise LabError(f"cannot create namespaces for {self.name}: run this as root")
            for child in children_of(self._unshare.pid):
                # Until it runs `sleep`, the child may still be mounting /proc.
                if Path(f"/proc/{child}/comm").read_text().strip() == "sleep":
                    return child
            time.sleep(0.005)
        raise LabError(f"the host {self.name} did not start within {START_SECONDS:g} s")
