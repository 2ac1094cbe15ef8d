"""Streams without sockets: one message each way, requested from the shell and fed back as bytes (gossip-wire §4).

The shell opens, reads, writes and closes TCP connections and enforces their deadlines; this module interprets the
bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from wgmesh_agent.gossip.errors import GossipError, PeerError
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.quota import Quota
from wgmesh_agent.gossip.memberlist.senders import speaker_of
from wgmesh_agent.gossip.memberlist.steps import Steps
from wgmesh_agent.gossip.wire.endpoint import Endpoint
from wgmesh_agent.gossip.wire.messages import Message, StreamError
from wgmesh_agent.gossip.wire.stream import StreamCodec, StreamDecoder, stream_message
from wgmesh_agent.runtime.borders import border

REQUESTS = border("gossip stream", "TCP on the mesh address: what a peer asks")
REPLIES = border("gossip stream reply", "TCP to a member: what it answers")


class Purpose(Enum):
    """Purpose of a stream."""

    JOIN = "join"
    PUSH_PULL = "push-pull"
    PING = "ping"


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Connect to `endpoint`, write `payload`, feed back received bytes until a close action or `deadline`."""

    stream_id: int
    endpoint: Endpoint
    payload: bytes
    purpose: Purpose
    deadline: float


@dataclass(frozen=True, slots=True)
class WriteStream:
    """Write `payload` on an accepted stream, then close it."""

    stream_id: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Close a stream; nothing further is expected from it."""

    stream_id: int


StreamAction = OpenStream | WriteStream | CloseStream


@dataclass(frozen=True, slots=True)
class StreamFailure:
    """Why a stream brought no reply; `refused` if the peer's host reported that no process listens there."""

    reason: str
    refused: bool = False


@dataclass(slots=True)
class _Opened:
    endpoint: Endpoint
    decoder: StreamDecoder
    on_message: Callable[[Message, float], None]
    on_failure: Callable[[StreamFailure, float], None]
    received_bytes: int = 0
    nodes: int = 0
    going_on: bool = False
    ended: StreamFailure | None = None


@dataclass(slots=True)
class _Accepted:
    decoder: StreamDecoder
    endpoint: Endpoint | None
    received_bytes: int = 0
    nodes: int = 0
    going_on: bool = False
    ended: StreamFailure | None = None


Responder = Callable[[Message, Endpoint | None, float], tuple[Message | None, Callable[[float], None] | None]]
"""From a request, and its source address (port 0; None: unknown), to its reply and a callback to run afterwards."""


class Streams:
    """All streams of a node: opened ones wait for a reply, accepted ones for a request.

    One address may use half of the bytes that all of them hold, and of their node states.
    """

    def __init__(
        self,
        codec: StreamCodec,
        counters: Counters,
        responder: Responder,
        steps: Steps,
        max_accepted: int,
        max_buffered_bytes: int,
        waiting: Quota,
    ) -> None:
        self._codec = codec
        self._counters = counters
        self._responder = responder
        self._steps = steps
        self._max_accepted = max_accepted
        self._buffered = Quota(max_buffered_bytes, max_buffered_bytes // 2)
        self._waiting = waiting
        self._next_id = 0
        self._opened: dict[int, _Opened] = {}
        self._accepted: dict[int, _Accepted] = {}
        self._actions: list[StreamAction] = []

    def open(
        self,
        endpoint: Endpoint,
        message: Message,
        purpose: Purpose,
        deadline: float,
        on_message: Callable[[Message, float], None],
        on_failure: Callable[[StreamFailure, float], None],
    ) -> None:
        """Sends a message to `endpoint`; exactly one of the two callbacks is called with the outcome.

        Raises GossipError if the message is too large for a stream.
        """
        payload = self._codec.encode(stream_message(message), False)
        self._next_id += 1
        self._opened[self._next_id] = _Opened(endpoint, self._codec.decoder(True), on_message, on_failure)
        self._actions.append(OpenStream(self._next_id, endpoint, payload, purpose, deadline))
        self._counters.streams_out += 1
        self._counters.stream_bytes_out += len(payload)

    def actions(self) -> list[StreamAction]:
        """Returns the actions for the shell since the last call."""
        taken, self._actions = self._actions, []
        return taken

    def accepted(self, source: Endpoint | None = None) -> int | None:
        """A peer connected from `source` (port 0); returns the id of its stream, or None to close it at once."""
        if len(self._accepted) >= self._max_accepted:
            self._counters.refuse("stream: too many at once")
            return None
        self._next_id += 1
        self._accepted[self._next_id] = _Accepted(self._codec.decoder(False), source)
        self._counters.streams_in += 1
        return self._next_id

    def received(self, stream_id: int, data: bytes, now: float) -> None:
        """Bytes were received on a stream; unknown ids are ignored."""
        self._counters.stream_bytes_in += len(data)
        if (opened := self._opened.get(stream_id)) is not None:
            self._read_reply(stream_id, opened, data, now)
        elif (accepted := self._accepted.get(stream_id)) is not None:
            self._read_request(stream_id, accepted, data, now)

    def closed(self, stream_id: int, failure: StreamFailure, now: float) -> None:
        """A stream ended, failed or timed out. Complete messages received before are still read."""
        stream = self._opened.get(stream_id) or self._accepted.get(stream_id)
        if stream is not None and stream.decoder.behind:
            stream.ended = failure
            return
        self._fail(stream_id, failure, now)

    def _fail(self, stream_id: int, failure: StreamFailure, now: float) -> None:
        if (opened := self._opened.pop(stream_id, None)) is not None:
            self._release(opened)
            opened.on_failure(failure, now)
        elif (accepted := self._accepted.pop(stream_id, None)) is not None:
            self._release(accepted)
            self._counters.refuse("stream: ended early")

    def _read_reply(self, stream_id: int, stream: _Opened, data: bytes, now: float) -> None:
        message: Message | None = None
        reason = ""
        with REPLIES.fence(stream.endpoint) as item:
            try:
                message = self._feed(stream, data)
            except PeerError as error:
                self._counters.refuse("stream: unreadable reply")
                reason = str(error)
        if item.rejected is not None:
            reason = "its answer could not be read"
        if reason:
            self._actions.append(CloseStream(stream_id))
            self._fail(stream_id, StreamFailure(reason), now)
        elif message is None:
            self._go_on(stream_id, stream, now)
        else:
            del self._opened[stream_id]
            self._release(stream)
            self._actions.append(CloseStream(stream_id))
            if isinstance(message, StreamError):
                stream.on_failure(StreamFailure(f"the peer refused the stream: {message.error}"), now)
            else:
                stream.on_message(message, now)

    def _read_request(self, stream_id: int, stream: _Accepted, data: bytes, now: float) -> None:
        reply: Message | None = None
        afterwards: Callable[[float], None] | None = None
        with REQUESTS.fence(stream.endpoint or "") as item:
            try:
                message = self._feed(stream, data)
                if message is None:
                    self._go_on(stream_id, stream, now)
                    return
                reply, afterwards = self._responder(message, stream.endpoint, now)
            except PeerError as error:
                self._counters.refuse("stream: unreadable request")
                reply = StreamError(str(error))
        if item.rejected is not None:
            self._counters.refuse("stream: request failed")
            reply = StreamError("this node cannot answer")
        if self._accepted.pop(stream_id, None) is not None:
            self._release(stream)
        action: StreamAction = CloseStream(stream_id)
        with REQUESTS.fence(stream.endpoint or ""):
            action = self._answer(stream_id, reply)
        self._actions.append(action)
        if afterwards is not None:
            afterwards(now)

    def _go_on(self, stream_id: int, stream: _Opened | _Accepted, now: float) -> None:
        """Reads a message of thousands of nodes in steps."""

        def step(now: float) -> bool:
            stream.going_on = False
            self.received(stream_id, b"", now)
            return False

        if stream.decoder.behind:
            if not stream.going_on:
                stream.going_on = True
                self._steps.add(step, now)
        elif stream.ended is not None:
            self._fail(stream_id, stream.ended, now)

    def _answer(self, stream_id: int, reply: Message | None) -> StreamAction:
        if reply is None:
            return CloseStream(stream_id)
        try:
            payload = self._codec.encode(stream_message(reply), True)
        except GossipError:
            self._counters.refuse("stream: reply too large")
            return CloseStream(stream_id)
        self._counters.stream_bytes_out += len(payload)
        return WriteStream(stream_id, payload)

    def _feed(self, stream: _Opened | _Accepted, data: bytes) -> Message | None:
        """Decodes its bytes. Raises PeerError, also if there is no memory budget for it now."""
        speaker = speaker_of(stream.endpoint)
        if not self._buffered.take(speaker, len(data)):
            raise PeerError("too many bytes on all streams together; try again")
        stream.received_bytes += len(data)
        message = stream.decoder.feed(data)
        if not stream.nodes and (nodes := stream.decoder.announced_nodes):
            if not self._waiting.take(speaker, nodes):
                raise PeerError("too many members on all streams together; try again")
            stream.nodes = nodes
        return message

    def _release(self, stream: _Opened | _Accepted) -> None:
        speaker = speaker_of(stream.endpoint)
        self._buffered.give_back(speaker, stream.received_bytes)
        self._waiting.give_back(speaker, stream.nodes)
