"""TCP through the tunnel in virtual time, one exchange a connection, as gossip has them; bytes come whole or not."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from wgmesh_agent.gossip.memberlist.streams import OpenStream
from wgmesh_agent.gossip.serf.serf import Serf
from wgmesh_agent.wireguard.model import IPAddress

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 8.0
GIVE_UP_SECONDS = 30.0

Number = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Opening:
    number: Number
    payload: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """End of an exchange: the answer, nothing (closed), or None without a listener."""

    number: Number
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Received:
    """TCP's own acknowledgement: the other's packet needs no repeating."""

    number: Number
    opening: bool


Send = Callable[[IPAddress, object], None]


class VirtualStreams:
    """In place of `gossip.aio.streams.StreamTransport`."""

    def __init__(
        self, core: Serf, clock: Callable[[], float], flush: Callable[[], None], host: str, send: Send
    ) -> None:
        self._core = core
        self._clock = clock
        self._flush = flush
        self._host = host
        self._send = send
        self._numbers = itertools.count(int(clock() * 1000) << 20)
        self._waiting: dict[Number, asyncio.Future[bytes | None]] = {}
        self._ended: set[int] = set()
        self._serving: dict[int, tuple[Number, IPAddress]] = {}
        self._seen: set[Number] = set()
        self._repeating: dict[tuple[Number, bool], asyncio.TimerHandle] = {}

    async def open(self, action: OpenStream) -> None:
        """Carry out one exchange of ours."""
        number = (self._host, next(self._numbers))
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        reason, refused = "closed by the peer", False
        self._repeat(action.endpoint.address, Opening(number, action.payload), number, opening=True)
        try:
            async with asyncio.timeout(max(0.0, action.deadline - self._clock())):
                payload = await answer
            if payload is None:
                reason, refused = "connection refused", True
            elif payload:
                self._core.stream_received(action.stream_id, payload, self._clock())
                self._flush()
        except TimeoutError:
            reason = "timed out"
        finally:
            del self._waiting[number]
            self._stop(number, opening=True)
        if action.stream_id in self._ended:
            self._ended.discard(action.stream_id)
        else:
            self._core.stream_closed(action.stream_id, reason, self._clock(), refused=refused)
            self._flush()

    def end(self, stream_id: int, reply: bytes) -> None:
        """Expect nothing more on a connection; write `reply` and close it."""
        serving = self._serving.pop(stream_id, None)
        if serving is None:
            self._ended.add(stream_id)
        else:
            number, address = serving
            self._repeat(address, Reply(number, reply), number, opening=False)

    def close(self) -> None:
        """Cut all connections."""
        for timer in self._repeating.values():
            timer.cancel()
        self._repeating.clear()

    def receive(self, source: IPAddress, message: object) -> None:
        """A segment came."""
        match message:
            case Opening(number, payload):
                self._send(source, Received(number, opening=True))
                if number not in self._seen:
                    self._seen.add(number)
                    self._serve(source, number, payload)
            case Reply(number, answer):
                self._send(source, Received(number, opening=False))
                waiting = self._waiting.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
            case Received(number, opening):
                self._stop(number, opening=opening)

    def _serve(self, source: IPAddress, number: Number, payload: bytes) -> None:
        stream_id = self._core.stream_accepted()
        if stream_id is None:
            self._repeat(source, Reply(number, b""), number, opening=False)
            return
        self._serving[stream_id] = number, source
        half = len(payload) // 2
        for piece in (payload[:half], payload[half:]):
            if piece and stream_id in self._serving:
                self._core.stream_received(stream_id, piece, self._clock())
                self._flush()

    def _repeat(self, address: IPAddress, message: object, number: Number, *, opening: bool) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()

        def again(pause: float) -> None:
            if loop.time() - begun > GIVE_UP_SECONDS:
                self._repeating.pop((number, opening), None)
                return
            self._send(address, message)
            self._repeating[number, opening] = loop.call_later(
                pause, again, min(LONGEST_RETRY_SECONDS, 2 * pause)
            )

        again(FIRST_RETRY_SECONDS)

    def _stop(self, number: Number, *, opening: bool) -> None:
        timer = self._repeating.pop((number, opening), None)
        if timer is not None:
            timer.cancel()
