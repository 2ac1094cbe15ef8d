"""The command line run in this process, and an agent of our own for it to talk to over a real socket."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from wgmesh_agent.cli.main import run, wgmesh
from wgmesh_api.agent_pb2 import (
    AgentEmpty,
    ExamineRequest,
    ExamineResult,
    LeaveRequest,
    LeaveResult,
    MemberInfo,
    MeshInfo,
    NodeTag,
    RotateKeysRequest,
    RotateKeysResult,
    RTTInfo,
    TagResult,
    WaitInfo,
    WaitResponse,
)
from wgmesh_api.agent_pb2_grpc import AgentServicer, add_AgentServicer_to_server


class FakeAgent(AgentServicer):
    """Says what a test put into it; keeps tags; remembers who was asked to leave."""

    def __init__(self) -> None:
        self.info = MeshInfo()
        self.members: list[MemberInfo] = []
        self.rtts: list[RTTInfo] = []
        self.tags: dict[str, str] = {}
        self.examined: ExamineResult | None = None
        self.left: list[str] = []
        self.leave_result = LeaveResult(ok=True)
        self.rotated: list[int] = []
        self.rotation_result = RotateKeysResult(ok=True, message="the new key is used")
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.wait_failure: tuple[grpc.StatusCode, str] | None = None
        self.before_info: Callable[[], None] = lambda: None
        self.waiting = threading.Semaphore(0)
        self._changes = threading.Semaphore(0)

    def change(self, *, timed_out: bool = False) -> None:
        """End one wait, as after a change or when its time is up."""
        self._timed_out = timed_out
        self._changes.release()

    def Info(self, request: AgentEmpty, context: grpc.ServicerContext) -> MeshInfo:
        self.before_info()
        if self.failure is not None:
            context.abort(*self.failure)
        return self.info

    def Nodes(self, request: AgentEmpty, context: grpc.ServicerContext) -> Iterator[MemberInfo]:
        yield from self.members

    def WaitForChangeInMesh(self, request: WaitInfo, context: grpc.ServicerContext) -> Iterator[WaitResponse]:
        if self.wait_failure is not None:
            context.abort(*self.wait_failure)
        self.waiting.release()
        while not self._changes.acquire(timeout=0.05):
            if not context.is_active():
                return
        yield WaitResponse(wasTimeout=self._timed_out, changesOccured=not self._timed_out)

    def RotateKeys(self, request: RotateKeysRequest, context: grpc.ServicerContext) -> RotateKeysResult:
        self.rotated.append(request.keys)
        return self.rotation_result

    def Tag(self, request: NodeTag, context: grpc.ServicerContext) -> TagResult:
        if request.key.startswith("_"):
            return TagResult(ok=False, message="names that begin with _ are reserved")
        self.tags[request.key] = request.value
        return TagResult(ok=True)

    def Untag(self, request: NodeTag, context: grpc.ServicerContext) -> TagResult:
        if request.key not in self.tags:
            return TagResult(ok=False, message="there is no such tag")
        del self.tags[request.key]
        return TagResult(ok=True)

    def Tags(self, request: AgentEmpty, context: grpc.ServicerContext) -> Iterator[NodeTag]:
        for key, value in self.tags.items():
            yield NodeTag(key=key, value=value)

    def RTT(self, request: AgentEmpty, context: grpc.ServicerContext) -> Iterator[RTTInfo]:
        yield from self.rtts

    def Examine(self, request: ExamineRequest, context: grpc.ServicerContext) -> ExamineResult:
        if self.examined is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
        return self.examined

    def Leave(self, request: LeaveRequest, context: grpc.ServicerContext) -> LeaveResult:
        self.left.append(request.nodeName)
        return self.leave_result


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    """An agent on a socket that WGMESH_AGENT_SOCKET names."""
    path = tmp_path / "agent.sock"
    server = grpc.server(ThreadPoolExecutor(4))
    fake = FakeAgent()
    add_AgentServicer_to_server(fake, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"unix:{path}")
    server.start()
    monkeypatch.setenv("WGMESH_AGENT_SOCKET", str(path))
    yield fake
    server.stop(None).wait()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


Wgmesh = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("WGMESH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Wgmesh:
    """Runs `wgmesh` with the arguments given."""

    def call(*args: str) -> Outcome:
        code = run(wgmesh(), args)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
