"""Client of the agent's socket on this machine; every failure is reported in a sentence."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wgmesh_agent.cli.failure import CommandFailed

if TYPE_CHECKING:
    import grpc

    from wgmesh_api.agent_pb2_grpc import AgentStub

CALL_TIMEOUT_SECONDS = 10.0
SLOW_CALL_TIMEOUT_SECONDS = 30.0
ROTATION_TIMEOUT_SECONDS = 300.0
_PROBE_TIMEOUT_SECONDS = 3.0


class NoAgent(CommandFailed):
    """No process listens on the socket."""


@contextmanager
def agent_at(path: Path) -> Iterator[AgentStub]:
    """A stub for the agent that listens on the Unix socket `path`.

    Raises CommandFailed if no agent answers there, now or in the body's calls.
    """
    _probe(path)
    import grpc

    from wgmesh_api.agent_pb2_grpc import AgentStub

    # without an authority gRPC sends the path, which servers written in Go reject
    options = [("grpc.default_authority", "localhost"), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"unix:{path.absolute()}", options=options) as channel:
        try:
            yield AgentStub(channel)  # type: ignore[no-untyped-call]
        except grpc.RpcError as error:
            raise CommandFailed(_explained(error, path)) from error


def _probe(path: Path) -> None:
    # gRPC reports only "unavailable"; the kernel reports the cause
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_TIMEOUT_SECONDS)
        try:
            probe.connect(str(path))
        except FileNotFoundError as error:
            raise NoAgent(
                f"no agent answers at {path}: is `wgmesh join` or `wgmesh bootstrap` running here? "
                "An agent with another socket is named by -agent-grpc-socket."
            ) from error
        except ConnectionRefusedError as error:
            raise NoAgent(
                f"no agent answers at {path}: its socket exists, but the agent has terminated; start it again."
            ) from error
        except PermissionError as error:
            raise CommandFailed(
                f"permission denied for the agent's socket {path}: run as root, or start the agent with "
                "-agent-grpc-bind-socket-id UID:GID."
            ) from error
        except OSError as error:
            raise NoAgent(f"no agent answers at {path}: {error.strerror or error}.") from error


def _explained(error: grpc.RpcError, path: Path) -> str:
    import grpc

    code = error.code() if isinstance(error, grpc.Call) else None
    details = str(error.details() or "") if isinstance(error, grpc.Call) else str(error)
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return f"the agent at {path} stopped answering: {details}"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"the agent at {path} took too long to answer; `wgmesh join -d` shows what it is doing."
        case grpc.StatusCode.UNIMPLEMENTED:
            return f"the agent at {path} runs another version and does not support this command."
        case _:
            return f"the agent at {path} failed: {details or code}"
