"""An agent in a lab host: the real program in its own process, queried over its real socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import grpc

from wgmesh_agent.lab.command import LabError
from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.processes import children_of
from wgmesh_api.agent_pb2 import AgentEmpty, MemberInfo, MeshInfo
from wgmesh_api.agent_pb2_grpc import AgentStub

SOCKET = "/run/wgmesh.sock"
PROGRAM = (sys.executable, "-m", "wgmesh_agent.cli.main")
POLL_SECONDS = 0.02
T = TypeVar("T")


class Agent:
    """Runs `wgmesh bootstrap` or `wgmesh join` in a host. Its output goes to a log file next to the host's disk."""

    def __init__(
        self,
        host: Host,
        arguments: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        socket: str = SOCKET,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """
        Args:
            socket: the agent's own, by its path in the host.
            program: the command that starts the agent.
        """
        self.host = host
        self.arguments = tuple(arguments)
        self.socket = socket
        self._program = tuple(program)
        self.log = host.disk.with_name(f"{host.name}.log")
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the process; `wait_until_ready` waits for readiness."""
        with self.log.open("ab") as output:
            self._process = self.host.popen([*self._program, *self.arguments], output, self._env)

    @property
    def pid(self) -> int:
        """The agent's process number on this machine. Raises LabError if it is not running."""
        process = self._running()
        children = children_of(process.pid)
        if not children:
            raise LabError(f"the agent of {self.host.name} is not running: {self.said()}")
        return children[0]

    def wait_until_ready(self, seconds: float = 60.0) -> MeshInfo:
        """Waits for the agent to answer on its socket. Raises LabError with the end of its log."""
        return until(self._info_or_none, seconds, lambda: f"{self.host.name} answers: {self.said()}")

    def info(self) -> MeshInfo:
        """The agent's report on the mesh. Raises grpc.RpcError."""
        with self._channel() as channel:
            return AgentStub(channel).Info(AgentEmpty(), timeout=5)  # type: ignore[no-untyped-call,no-any-return]

    def nodes(self) -> dict[str, MemberInfo]:
        """The members as this agent reports them, by name. Raises grpc.RpcError."""
        with self._channel() as channel:
            stub = AgentStub(channel)  # type: ignore[no-untyped-call]
            return {member.nodeName: member for member in stub.Nodes(AgentEmpty(), timeout=5)}

    def kill(self) -> None:
        """SIGKILL: the agent cannot react."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end; returns the exit status."""
        os.kill(self.pid, number)
        return self.wait()

    def wait(self, seconds: float = 20.0) -> int:
        """Waits for the process to end; returns the exit status."""
        return self._running().wait(seconds)

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def said(self, characters: int = 2000) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else "(no log)"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LabError(f"the agent of {self.host.name} was never started")
        return self._process

    def _info_or_none(self) -> MeshInfo | None:
        if not self.runs():
            raise LabError(f"the agent of {self.host.name} terminated: {self.said()}")
        try:
            return self.info()
        except grpc.RpcError:
            return None

    def _channel(self) -> grpc.Channel:
        # From outside, the host's files are below its first process.
        return grpc.insecure_channel(f"unix:/proc/{self.host.pid}/root{self.socket}")


def until(
    look: Callable[[], T | None],
    seconds: float,
    what: Callable[[], str] | str,
    *,
    every: float = POLL_SECONDS,
) -> T:
    """Polls every `every` seconds until there is a result.

    Raises:
        LabError: there was none within `seconds`; `what` describes what was awaited.
    """
    deadline = time.monotonic() + seconds
    while (found := look()) is None or found is False:
        if time.monotonic() > deadline:
            raise LabError(f"not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(every)
    return found
