"""TCP for the gossip core: connections are opened, accepted, read, answered and closed on its behalf."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.quota import Quota
from wgmesh_agent.gossip.memberlist.streams import OpenStream
from wgmesh_agent.gossip.serf.serf import Serf
from wgmesh_agent.gossip.wire.endpoint import Endpoint
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.caches import forgotten_between_bursts
from wgmesh_agent.runtime.closing import abort

CONNECTIONS = border("gossip connection", "TCP on the mesh address: a connection as such")
_READ_BYTES = 1 << 16
_CLOSING_SECONDS = 1.0
"""How long a connection may take to flush and close before it is aborted."""
_MOST_FROM_ONE = 32
"""Concurrent connections of one address, out of those of all together: eight times what an honest member needs."""
CACHED_ENDPOINTS = 256
"""Endpoints in use of a small mesh. In a large one most packets create theirs again, which takes a microsecond."""
MOST_WAITING_BYTES = 12 << 20
"""Responses that wait to be read by peers, in total."""
_MOST_WAITING_BYTES_OF_ONE = 8 << 20
"""Two complete states of the largest mesh."""


@dataclass(slots=True)
class _Connection:
    """A connection as the core sees it; `reply` is written before it is closed."""

    source: str = ""
    done: bool = False
    reply: bytes = b""
    reading: asyncio.Task[bytes] | None = None


class StreamTransport:
    """All connections of a node; `flush` lets the shell perform the core's actions.

    A peer's connection counts against the limits of its address and of all together until it is closed.
    """

    def __init__(
        self, core: Serf, config: SerfConfig, clock: Callable[[], float], flush: Callable[[], None]
    ) -> None:
        self._core = core
        self._host = str(config.address)
        self._timeout_seconds = config.profile.tcp_timeout_seconds
        self._clock = clock
        self._flush = flush
        self._links: dict[int, _Connection] = {}
        self._serving: set[asyncio.StreamWriter] = set()
        self._connections = Quota(config.max_streams, _MOST_FROM_ONE)
        self._waiting = Quota(MOST_WAITING_BYTES, _MOST_WAITING_BYTES_OF_ONE)

    async def open(self, action: OpenStream) -> None:
        """Performs one exchange that this node initiates."""
        link = self._links[action.stream_id] = _Connection()
        refused = False
        reason = "failed"
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(max(0.0, action.deadline - self._clock())):
                host, port = sockaddr(action.endpoint)
                reader, writer = await asyncio.open_connection(host, port, local_addr=(self._host, 0))
                writer.write(action.payload)
                await writer.drain()
                reason = await self._read(action.stream_id, link, reader)
        except TimeoutError:
            reason = "timed out"
        except OSError as error:
            reason = _reason(error)
            refused = isinstance(error, ConnectionRefusedError)
        except asyncio.CancelledError:
            if writer is not None:
                abort(writer)
            raise
        except Exception:
            if writer is not None:
                abort(writer)
            self._finish(action.stream_id, reason)
            raise
        self._finish(action.stream_id, reason, refused)
        if writer is not None:
            await _close(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one connection of a peer."""
        source = _source(writer)
        host = "" if source is None else str(source.address)
        if not self._connections.take(host, 1):
            CONNECTIONS.reject("too_many", host, "too many connections at once: of this address, or of all")
            abort(writer)
            return
        try:
            with CONNECTIONS.fence(host):
                await self._serve(source, host, reader, writer)
        finally:
            abort(writer)
            self._connections.give_back(host, 1)

    async def _serve(
        self,
        source: Endpoint | None,
        host: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        stream_id = self._core.stream_accepted(source)
        if stream_id is None:
            return
        link = self._links[stream_id] = _Connection(host)
        self._serving.add(writer)
        reason = "failed"
        try:
            async with asyncio.timeout(self._timeout_seconds):
                reason = await self._read(stream_id, link, reader)
            if link.reply:
                async with asyncio.timeout(self._timeout_seconds):
                    writer.write(link.reply)
                    await writer.drain()
        except TimeoutError:
            reason = "timed out"
        except OSError as error:
            reason = _reason(error)
        finally:
            self._finish(stream_id, reason)
            try:
                await _close(writer)
            finally:
                self._serving.discard(writer)
                self._waiting.give_back(host, len(link.reply))

    def end(self, stream_id: int, reply: bytes) -> None:
        """Stops reading from a connection; writes `reply` and closes it."""
        link = self._links.get(stream_id)
        if link is not None:
            link.done = True
            if reply and self._waiting.take(link.source, len(reply)):
                link.reply = reply
            elif reply:
                CONNECTIONS.reject(
                    "unread_answers", link.source, "too many bytes wait to be read by this peer"
                )
            if link.reading is not None:
                link.reading.cancel()

    def close(self) -> None:
        """Closes all connections of peers."""
        for writer in list(self._serving):
            abort(writer)

    async def _read(self, stream_id: int, link: _Connection, reader: asyncio.StreamReader) -> str:
        while not link.done:
            link.reading = asyncio.create_task(reader.read(_READ_BYTES))
            try:
                data = await link.reading
            except asyncio.CancelledError:
                # The core has read a long message to its end in the meantime, and expects nothing further.
                if link.done:
                    return ""
                raise
            finally:
                link.reading = None
            if not data:
                return "closed by the peer"
            try:
                self._core.stream_received(stream_id, data, self._clock())
            finally:
                self._flush()
        return ""

    def _finish(self, stream_id: int, reason: str, refused: bool = False) -> None:
        if not self._links.pop(stream_id).done:
            try:
                self._core.stream_closed(stream_id, reason, self._clock(), refused=refused)
            finally:
                self._flush()


def _reason(error: OSError) -> str:
    # asyncio includes the address in the text; the reader of this text knows it already.
    return os.strerror(error.errno) if error.errno else str(error)


def _source(writer: asyncio.StreamWriter) -> Endpoint | None:
    peer = writer.get_extra_info("peername")
    return None if not peer else Endpoint(ip_address(peer[0].partition("%")[0]), 0)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Closes a connection; aborts it if its peer does not read."""
    writer.close()
    try:
        # A passed deadline is an OSError, too.
        with contextlib.suppress(OSError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await writer.wait_closed()
    finally:
        abort(writer)


@forgotten_between_bursts
@lru_cache(maxsize=CACHED_ENDPOINTS)
def sockaddr(endpoint: Endpoint) -> tuple[str, int]:
    """Returns an endpoint in the form of the socket API."""
    return str(endpoint.address), endpoint.port
