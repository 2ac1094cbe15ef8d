"""Round-trip times of the whole mesh: the user events _rtt0 and _rtt1."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import structlog
from google.protobuf.message import DecodeError

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.runtime.borders import border
from wgmesh_api.meshservice_pb2 import RTTRequest, RTTResponse, RTTResponseInfo

log = structlog.get_logger()
MEASURED = border("measured member", "round trips to members, by the coordinates they report")
RTT_REQUEST_EVENT, RTT_RESPONSE_EVENT = "_rtt0", "_rtt1"
EVENT_BYTES = 512 - len(RTT_RESPONSE_EVENT) - 38
"""Space in a user event of 512 bytes after its name, at the maximum Lamport time."""
SPREAD_SECONDS = 0.02
MAX_SPREAD_SECONDS = 10.0
FURTHER_PARTS_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class NodeRTTs:
    """One member's round-trip times: milliseconds by node name."""

    node: str
    rtts: dict[str, int]


class RTTCollector:
    """Answers requests of other members, and collects their answers to this node's."""

    def __init__(self, gossip: GossipNode, own: str) -> None:
        self._gossip = gossip
        self._own = own
        self._waiting: set[asyncio.Queue[NodeRTTs]] = set()
        self._answering = False

    async def answer_request(self, payload: bytes) -> None:
        """Answers a request after a random delay that grows with the mesh, so that members do not all send at once."""
        try:
            RTTRequest.FromString(payload)
        except DecodeError:
            log.debug("malformed rtt request")
            return
        if self._answering:
            return
        self._answering = True
        try:
            spread = min(MAX_SPREAD_SECONDS, SPREAD_SECONDS * len(self._gossip.members()))
            await asyncio.sleep(random.uniform(0, spread))  # noqa: S311
            for response in split(self._own, self._measured()):
                self._gossip.user_event(RTT_RESPONSE_EVENT, response.SerializeToString(), coalesce=False)
        except GossipError as error:
            log.warning("rtt answer not sent", error=str(error))
        finally:
            self._answering = False

    def on_response(self, payload: bytes) -> None:
        """Handles an answer."""
        try:
            response = RTTResponse.FromString(payload)
        except DecodeError:
            log.debug("malformed rtt answer")
            return
        found = NodeRTTs(response.node, {info.node: info.rttMsec for info in response.rtts})
        for queue in self._waiting:
            if not queue.full():
                queue.put_nowait(found)

    async def collect_all(self) -> AsyncIterator[NodeRTTs]:
        """This node's times, then those of all members as they arrive; a member with many peers answers in several
        parts.
        """
        own: dict[str, int] = {}
        for node, seconds in self._measured():
            with MEASURED.fence(node):
                own[node] = round(seconds * 1000)
        yield NodeRTTs(self._own, own)
        members = self._gossip.members()
        missing = {m.name for m in members.values() if m.status is MemberStatus.ALIVE} - {self._own}
        queue: asyncio.Queue[NodeRTTs] = asyncio.Queue(maxsize=4096)
        self._waiting.add(queue)
        try:
            self._gossip.user_event(
                RTT_REQUEST_EVENT, RTTRequest(requestedBy=self._own).SerializeToString(), coalesce=False
            )
            spread = min(MAX_SPREAD_SECONDS, SPREAD_SECONDS * len(members))
            deadline = asyncio.get_running_loop().time() + spread + 2.0
            while True:
                async with asyncio.timeout_at(deadline):
                    found = await queue.get()
                if found.node != self._own:
                    missing.discard(found.node)
                    yield found
                if not missing:
                    deadline = min(deadline, asyncio.get_running_loop().time() + FURTHER_PARTS_SECONDS)
        except TimeoutError:
            if missing:
                log.warning("members did not answer", nodes=sorted(missing))
        finally:
            self._waiting.discard(queue)

    def _measured(self) -> Iterable[tuple[str, float]]:
        for member in self._gossip.members().values():
            rtt = self._gossip.rtt(member.name) if member.status is MemberStatus.ALIVE else None
            if rtt is not None and member.name != self._own:
                yield member.name, rtt


def split(own: str, rtts: Iterable[tuple[str, float]]) -> list[RTTResponse]:
    """The answer in parts that fit a user event; the original sends one part, which is lost if too large."""
    parts = [RTTResponse(node=own)]
    for node, seconds in rtts:
        info: RTTResponseInfo | None = None
        with MEASURED.fence(node):
            info = RTTResponseInfo(node=node, rttMsec=round(seconds * 1000))
        if info is None:
            continue
        if parts[-1].ByteSize() + info.ByteSize() + 2 > EVENT_BYTES:
            parts.append(RTTResponse(node=own))
        parts[-1].rtts.append(info)
    return parts
