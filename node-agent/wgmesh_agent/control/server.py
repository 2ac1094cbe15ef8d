"""The Agent gRPC service on the Unix socket, for `wgmesh info` and other commands."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import structlog

from wgmesh_agent.control.member_report import REPORTED, MemberReport
from wgmesh_agent.control.mesh_report import MeshReport
from wgmesh_agent.control.rtt_collector import RTTCollector
from wgmesh_agent.diagnosis.collector import FactCollector
from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.membership.tags import TagRejected
from wgmesh_agent.mesh.rotation.gossip_key import RotationFailed
from wgmesh_agent.mesh.rotation.service import RotationService
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.task_set import TaskSet
from wgmesh_agent.wireguard.errors import BackEndError
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
    RTTNodeInfo,
    TagResult,
    WaitInfo,
    WaitResponse,
)
from wgmesh_api.agent_pb2_grpc import AgentServicer, add_AgentServicer_to_server

log = structlog.get_logger()
Context = grpc.aio.ServicerContext[Any, Any]
MAX_WAIT_SECONDS = 3600


class SocketInUse(Exception):
    """Another agent answers on this socket."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AgentService(AgentServicer):
    """Reads the node; changes only tags, keys and membership.

    Attributes:
        leave: ends the session once this node has left the mesh.
    """

    mesh: MeshReport
    members: MemberReport
    local: LocalNode
    changes: Signal
    gossip: GossipNode
    rtts: RTTCollector
    rotations: RotationService
    facts: FactCollector
    leave: Callable[[], Awaitable[None]]
    _rotating: TaskSet = field(default_factory=TaskSet)

    async def Info(self, request: AgentEmpty, context: Context) -> MeshInfo:
        return self.mesh.info()

    async def Nodes(self, request: AgentEmpty, context: Context) -> AsyncIterator[MemberInfo]:
        try:
            found = await self.members.members()
        except BackEndError as error:
            log.error("cannot read WireGuard", error=str(error))
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"cannot read WireGuard: {error}")
        for member in found:
            yield member

    async def WaitForChangeInMesh(self, request: WaitInfo, context: Context) -> AsyncIterator[WaitResponse]:
        generation = self.changes.generation
        seconds = min(max(request.timeoutSecs, 1), MAX_WAIT_SECONDS)
        changed = await self.changes.wait_after(generation, seconds)
        yield WaitResponse(wasTimeout=not changed, changesOccured=changed)

    async def Tag(self, request: NodeTag, context: Context) -> TagResult:
        return await self._set_tags({**self.local.record.tags, request.key: request.value})

    async def Untag(self, request: NodeTag, context: Context) -> TagResult:
        if request.key not in self.local.record.tags:
            return TagResult(ok=False, message=f"this node has no tag {request.key!r:.80}")
        return await self._set_tags({k: v for k, v in self.local.record.tags.items() if k != request.key})

    async def Tags(self, request: AgentEmpty, context: Context) -> AsyncIterator[NodeTag]:
        for key, value in sorted(self.local.record.tags.items()):
            yield NodeTag(key=key, value=value)

    async def RTT(self, request: AgentEmpty, context: Context) -> AsyncIterator[RTTInfo]:
        async for found in self.rtts.collect_all():
            infos = []
            for name, msec in sorted(found.rtts.items()):
                with REPORTED.fence(name):
                    infos.append(
                        RTTNodeInfo(nodeName=name, rttMsec=msec, rttUsec=self._rtt_usec(name, found.node))
                    )
            yield RTTInfo(nodeName=found.node, rtts=infos)

    async def Leave(self, request: LeaveRequest, context: Context) -> LeaveResult:
        own = self.local.node
        if request.nodeName in ("", own):
            await self.leave()
            return LeaveResult(ok=True)
        member = self.gossip.members().get(request.nodeName)
        if member is None:
            return LeaveResult(ok=False, message=f"this mesh has no member {request.nodeName!r:.80}")
        if member.status is not MemberStatus.FAILED:
            what = member.status.name.lower()
            return LeaveResult(
                ok=False, message=f"{member.name} is {what}: only a failed member can be removed"
            )
        try:
            self.gossip.force_leave(member.name)
        except GossipError as error:
            return LeaveResult(ok=False, message=str(error))
        return LeaveResult(ok=True)

    async def RotateKeys(self, request: RotateKeysRequest, context: Context) -> RotateKeysResult:
        rotate = {
            RotateKeysRequest.GOSSIP: self.rotations.rotate_gossip_key,
            RotateKeysRequest.WIREGUARD: self.rotations.rotate_wireguard_key,
        }.get(request.keys)
        if rotate is None:
            return RotateKeysResult(ok=False, message="unknown kind of key")
        # The caller may disconnect; a started rotation is completed.
        return await self._rotating.outlive(_result(rotate()), "key rotation")

    async def Examine(self, request: ExamineRequest, context: Context) -> ExamineResult:
        return await self.facts.collect(request.nodeName)

    async def _set_tags(self, tags: dict[str, str]) -> TagResult:
        try:
            self.local.set_user_tags(tags)
            await asyncio.to_thread(self.local.persist)
        except TagRejected as error:
            return TagResult(ok=False, message=str(error))
        except OSError as error:
            return TagResult(ok=False, message=f"set, but not saved to disk: {error}")
        return TagResult(ok=True)

    def _rtt_usec(self, node: str, seen_from: str) -> int:
        rtt = self.gossip.rtt(node, seen_from)
        return -1 if rtt is None else round(rtt * 1e6)


async def _result(rotation: Awaitable[str]) -> RotateKeysResult:
    try:
        return RotateKeysResult(ok=True, message=await rotation)
    except RotationFailed as error:
        log.warning("keys not rotated", error=str(error))
        return RotateKeysResult(ok=False, message=str(error))


async def serve(service: AgentService, path: Path, owner: tuple[int, int] | None) -> grpc.aio.Server:
    """Listens on the Unix socket, accessible to its owner only.

    Raises:
        SocketInUse: another agent answers there.
        OSError: the socket cannot be created.
    """
    remove_stale_socket(path)
    server = grpc.aio.server()
    add_AgentServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    umask = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise OSError(f"cannot listen on {path}: check that its folder exists") from error
    finally:
        os.umask(umask)
    if owner is not None:
        os.chown(path, *owner)
    await server.start()
    return server


def remove_stale_socket(path: Path) -> None:
    """Removes the socket of a killed agent; never one that answers, nor a file that is not a socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise SocketInUse(f"another agent answers at {path}: give this one another with -agent-grpc-bind-socket")
