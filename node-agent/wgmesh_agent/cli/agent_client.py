"""Talking to the agent on this machine, with every way that fails told in a sentence."""

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
    """Nobody listens on the socket."""


@contextmanager
def agent_at(path: Path) -> Iterator[AgentStub]:
    """A stub for the agent listening on the unix socket `path`.

    Raises CommandFailed if nobody answers there, now or in the body's calls.
    """
    _probe(path)
    import grpc

    from wgmesh_api.agent_pb2_grpc import AgentStub

    # without an authority grpc sends the path, which servers written in Go refuse
    options = [("grpc.default_authority", "localhost"), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"unix:{path.absolute()}", options=options) as channel:
        try:
            yield AgentStub(channel)  # type: ignore[no-untyped-call]
        except grpc.RpcError as error:
            raise CommandFailed(_explained(error, path)) from error


def _probe(path: Path) -> None:
    # grpc would say no more than "unavailable"; the kernel knows why
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
                f"no agent answers at {path}: its socket is still there but the agent is gone; start it again."
            ) from error
        except PermissionError as error:
            raise CommandFailed(
                f"you may not talk to the agent at {path}: be root, or let the agent give its socket to you "
                "with -agent-grpc-bind-socket-id UID:GID."
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
            return f"the agent at {path} is of another version and does not know this command."
        case _:
            return f"the agent at {path} failed: {details or code}"
