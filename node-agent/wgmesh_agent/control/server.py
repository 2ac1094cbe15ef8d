"""The Agent gRPC service on the unix socket: what `wgmesh info` and its siblings ask."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import structlog

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.diagnosis.collector import FactCollector
from wgmesh_agent.diagnosis.rejected_input import rejected_input
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.tags import TagRejected, is_reserved
from wgmesh_agent.mesh.probing.liveness import LinkState
from wgmesh_agent.mesh.probing.path_mtu import PathMTU
from wgmesh_agent.mesh.rotation.gossip_key import RotationFailed
from wgmesh_agent.mesh.rotation.service import RotationService
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.task_set import TaskSet
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.model import Device, Network
from wgmesh_api.agent_pb2 import (
    AgentEmpty,
    ExamineRequest,
    ExamineResult,
    LeaveRequest,
    LeaveResult,
    MemberInfo,
    MemberInfoTag,
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
REPORTED = border("reported member", "what other members say of themselves, as the agent socket reports it")
MAX_WAIT_SECONDS = 3600


class SocketInUse(Exception):
    """Another agent answers on this socket."""


class AgentService(AgentServicer):
    """Reads the node; changes only tags and membership."""

    def __init__(
        self,
        node: MeshNode,
        rotations: RotationService,
        examiner: FactCollector,
        *,
        tls: bool,
        leave: Callable[[], Awaitable[None]],
    ) -> None:
        self._node = node
        self._rotations = rotations
        self._examiner = examiner
        self._tls = tls
        self._leave = leave
        self._rotating = TaskSet()

    async def Info(self, request: AgentEmpty, context: Context) -> MeshInfo:
        node, record, local = self._node, self._node.record, self._node.local
        return MeshInfo(
            name=record.mesh,
            nodeCount=sum(m.status is MemberStatus.ALIVE for m in node.members()),
            nodeName=record.node,
            meshCeationTS=record.created_unix,
            nodeJoinTS=record.joined_unix,
            interface=local.config.interface,
            backend=node.backend.kind.value,
            pubkey=str(local.public_key),
            meshCidrs=[str(network) for network in record.ranges],
            meshIPs=[str(address) for address in record.addresses],
            gossipProfile=record.profile,
            gossipEncrypted=bool(record.gossip_keys),
            tls=self._tls,
            mtu=local.config.mtu,
            version=version("wgmesh"),
            endpoint=str(local.endpoint),
            refusals=node.rejections.counts,
            rejectedInput={
                f"{border}: {reason}": count
                for (border, reason), count in rejected_input(node.gossip.counters).items()
            },
            bootstrap=record.bootstrap,
            behindNat=local.behind_nat,
            secretIds=local.secret_ids,
        )

    async def Nodes(self, request: AgentEmpty, context: Context) -> AsyncIterator[MemberInfo]:
        try:
            device = await self._node.device.read()
        except BackEndError as error:
            log.error("cannot read WireGuard", error=str(error))
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"cannot read WireGuard: {error}")
        links, paths = self._node.probing.links(), self._node.probing.path_mtus()
        for member in self._node.members():
            # A member that cannot be reported is left out, and only that one.
            found: MemberInfo | None = None
            with REPORTED.fence(member.name):
                found = self._member_info(member, device, links, paths)
            if found is not None:
                yield found

    async def WaitForChangeInMesh(self, request: WaitInfo, context: Context) -> AsyncIterator[WaitResponse]:
        generation = self._node.changes.generation
        seconds = min(max(request.timeoutSecs, 1), MAX_WAIT_SECONDS)
        changed = await self._node.changes.wait_after(generation, seconds)
        yield WaitResponse(wasTimeout=not changed, changesOccured=changed)

    async def Tag(self, request: NodeTag, context: Context) -> TagResult:
        return await self._set_tags({**self._node.record.tags, request.key: request.value})

    async def Untag(self, request: NodeTag, context: Context) -> TagResult:
        if request.key not in self._node.record.tags:
            return TagResult(ok=False, message=f"this node has no tag {request.key!r:.80}")
        return await self._set_tags({k: v for k, v in self._node.record.tags.items() if k != request.key})

    async def Tags(self, request: AgentEmpty, context: Context) -> AsyncIterator[NodeTag]:
        for key, value in sorted(self._node.record.tags.items()):
            yield NodeTag(key=key, value=value)

    async def RTT(self, request: AgentEmpty, context: Context) -> AsyncIterator[RTTInfo]:
        async for found in self._node.rtts.collect_all():
            infos = []
            for name, msec in sorted(found.rtts.items()):
                with REPORTED.fence(name):
                    infos.append(
                        RTTNodeInfo(nodeName=name, rttMsec=msec, rttUsec=self._rtt_usec(name, found.node))
                    )
            yield RTTInfo(nodeName=found.node, rtts=infos)

    async def Leave(self, request: LeaveRequest, context: Context) -> LeaveResult:
        own = self._node.record.node
        if request.nodeName in ("", own):
            await self._leave()
            return LeaveResult(ok=True)
        member = self._node.gossip.members().get(request.nodeName)
        if member is None:
            return LeaveResult(ok=False, message=f"this mesh has no member {request.nodeName!r:.80}")
        if member.status is not MemberStatus.FAILED:
            what = member.status.name.lower()
            return LeaveResult(
                ok=False, message=f"{member.name} is {what}: only a failed member can be taken out"
            )
        try:
            self._node.gossip.force_leave(member.name)
        except GossipError as error:
            return LeaveResult(ok=False, message=str(error))
        return LeaveResult(ok=True)

    async def RotateKeys(self, request: RotateKeysRequest, context: Context) -> RotateKeysResult:
        rotate = {
            RotateKeysRequest.GOSSIP: self._rotations.rotate_gossip_key,
            RotateKeysRequest.WIREGUARD: self._rotations.rotate_wireguard_key,
        }.get(request.keys)
        if rotate is None:
            return RotateKeysResult(ok=False, message="this agent knows no such keys")
        # Who asked may go away; a rotation that has begun is brought to its end.
        return await self._rotating.outlive(_result(rotate()), "key rotation")

    async def Examine(self, request: ExamineRequest, context: Context) -> ExamineResult:
        return await self._examiner.collect(request.nodeName)

    async def _set_tags(self, tags: dict[str, str]) -> TagResult:
        try:
            self._node.local.set_user_tags(tags)
            await asyncio.to_thread(self._node.local.persist)
        except TagRejected as error:
            return TagResult(ok=False, message=str(error))
        except OSError as error:
            return TagResult(ok=False, message=f"set, but not kept on disk: {error}")
        return TagResult(ok=True)

    def _rtt_usec(self, node: str, seen_from: str) -> int:
        rtt = self._node.gossip.rtt(node, seen_from)
        return -1 if rtt is None else round(rtt * 1e6)

    def _routes(self, node: str) -> Iterable[Network]:
        """What is reached through a member."""
        if node == self._node.record.node:
            return self._node.local.routes
        binding = self._node.ledger.by_name(node)
        return self._node.routes.installed.get(binding.claim.public_key, ()) if binding is not None else ()

    def _member_info(
        self, member: Member, device: Device, links: dict[str, LinkState], paths: dict[str, PathMTU]
    ) -> MemberInfo:
        own = member.name == self._node.record.node
        binding = self._node.ledger.by_name(member.name)
        claim = self._node.local.claim() if own else (binding.claim if binding else None)
        peer = device.peers.get(claim.public_key) if claim and not own else None
        rtt = self._node.gossip.rtt(member.name)
        link = links.get(member.name)
        return MemberInfo(
            nodeName=member.name,
            addr=str(member.address),
            status=member.status.name.lower(),
            rttMsec=0 if rtt is None else round(rtt * 1000),
            tags=[
                MemberInfoTag(key=k, value=v) for k, v in sorted(member.tags.items()) if not is_reserved(k)
            ],
            isLocalNode=own,
            endpoint=str(self._node.local.endpoint if own else (peer and peer.endpoint) or ""),
            lastHandshakeTS=int(peer.last_handshake) if peer else 0,
            rxBytes=peer.rx_bytes if peer else 0,
            txBytes=peer.tx_bytes if peer else 0,
            meshIPs=[str(address) for address in claim.addresses] if claim else [],
            pubkey=str(claim.public_key) if claim else "",
            rttUsec=0 if own else (-1 if rtt is None else round(rtt * 1e6)),
            bootstrap=claim.bootstrap if claim else False,
            probed=link is not None,
            receiving=link is not None and link.receiving,
            peerReceiving=link is not None and bool(link.peer_receiving),
            routes=[str(route) for route in self._routes(member.name)],
            pathMTU=(path.mtu or 0) if (path := paths.get(member.name)) is not None else 0,
            lastProbeMsecAgo=msec_ago(link.last_received_seconds_ago) if link is not None else 0,
            relay=self._node.relay.relays_in_use().get(claim.public_key, "") if claim else "",
            presharedKey=peer is not None and self._node.psk.is_protected(device, peer.public_key),
        )


def msec_ago(seconds: float | None) -> int:
    """-1 for never, and at least 1, as 0 says that it is not known."""
    return -1 if seconds is None else max(1, round(seconds * 1000))


async def _result(rotation: Awaitable[str]) -> RotateKeysResult:
    try:
        return RotateKeysResult(ok=True, message=await rotation)
    except RotationFailed as error:
        log.warning("keys not rotated", error=str(error))
        return RotateKeysResult(ok=False, message=str(error))


async def serve(service: AgentService, path: Path, owner: tuple[int, int] | None) -> grpc.aio.Server:
    """Listens on the unix socket, readable by its owner only.

    Raises:
        SocketInUse: another agent answers there.
        OSError: the socket cannot be made.
    """
    remove_stale_socket(path)
    server = grpc.aio.server()
    add_AgentServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    umask = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise OSError(f"cannot listen on {path}: does its folder exist?") from error
    finally:
        os.umask(umask)
    if owner is not None:
        os.chown(path, *owner)
    await server.start()
    return server


def remove_stale_socket(path: Path) -> None:
    """Removes the socket that a killed agent left; never one that answers, nor anything that is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(f"{path} exists and is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise SocketInUse(f"another agent answers at {path}: give this one its own with -agent-grpc-bind-socket")
