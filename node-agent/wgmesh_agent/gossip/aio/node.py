"""The asyncio shell around the gossip core: sockets, clock and randomness, without decisions.

One UDP socket and one TCP listener on the same address and port. A timer is armed only for the core's next deadline,
so an idle node sleeps between its probes.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from inspect import isawaitable
from ipaddress import ip_address

import structlog

from wgmesh_agent.gossip.aio.event_stream import EventStream
from wgmesh_agent.gossip.aio.streams import CACHED_ENDPOINTS, StreamTransport, sockaddr
from wgmesh_agent.gossip.errors import GossipError, QueryOverError
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.senders import Vouching
from wgmesh_agent.gossip.memberlist.streams import CloseStream, OpenStream, StreamAction, WriteStream
from wgmesh_agent.gossip.serf.events import (
    JoinFinished,
    LeaveFinished,
    Member,
    QueryFinished,
    QueryReceived,
    QueryResult,
    SerfEvent,
)
from wgmesh_agent.gossip.serf.key_manager import KeyOperation, KeyResult, collect
from wgmesh_agent.gossip.serf.outstanding_queries import OutstandingQuery
from wgmesh_agent.gossip.serf.query_client import QueryRequest
from wgmesh_agent.gossip.serf.serf import Serf
from wgmesh_agent.gossip.wire.endpoint import Endpoint, IPAddress
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.caches import forgotten_between_bursts
from wgmesh_agent.runtime.task_set import TaskSet

_log = structlog.get_logger(__name__)

DATAGRAMS = border("gossip datagram", "UDP on the mesh address")
QUERIES = border("gossip query", "a query of a member, handled by the agent")
OUTPUT = border("gossip output", "what gossip sends, opens and reports")
WORK = border("gossip work", "an exchange with a member, or an answer that takes a while")
_RECEIVE_BUFFER_BYTES = 256 << 10
"""Size of one burst. Messages that wait longer than their sender are wasted work, and delay the following ones."""
_LARGEST_DATAGRAM_BYTES = 65536
_DATAGRAMS_A_TURN = 64
MOST_UNREAD_EVENTS = 1024
_BIND_ATTEMPTS = 16

QueryHandler = Callable[[QueryReceived], Awaitable[bytes | None] | bytes | None]


class GossipNode:
    """One member of the gossip cluster, on real sockets.

    `events` is for one consumer. Methods other than `start` need a started node and one event loop.
    """

    def __init__(
        self,
        config: SerfConfig,
        *,
        keyring: Keyring | None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        vouching: Vouching | None = None,
    ) -> None:
        """`vouching`: bindings of members in the ledger; None: no ledger."""
        self.config = config
        self._clock = clock
        self._core = Serf(
            config,
            keyring=keyring,
            rng=rng or random.Random(),  # noqa: S311
            nonces=os.urandom,
            vouching=vouching,
        )
        self.events = EventStream(self.counters, MOST_UNREAD_EVENTS, config.max_members)
        self._handlers: dict[str, QueryHandler] = {}
        self._udp: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due: float | None = None
        self._links = StreamTransport(self._core, config, clock, self._flush)
        self._tasks = TaskSet(_work_failed)
        self._joins: dict[Endpoint, list[asyncio.Future[str | None]]] = {}
        self._queries: dict[int, asyncio.Future[None]] = {}
        self._left: asyncio.Future[None] | None = None
        self.port = config.port

    # Life cycle

    async def start(self) -> None:
        """Binds UDP and TCP on the configured address and port (0: any free one) and starts as a cluster of one.

        Raises OSError if they are in use, GossipError for too long tags.
        """
        await self._bind()
        self._core.start(self._clock(), self.port)
        self._flush()

    async def join(
        self, addresses: Sequence[tuple[IPAddress, int]], *, ignore_old_events: bool = True
    ) -> int:
        """Joins through all `addresses`; returns how many responded. Raises GossipError with the reasons if none
        did."""
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[str | None]] = []
        for address, port in addresses:
            endpoint = Endpoint(address, port)
            future: asyncio.Future[str | None] = loop.create_future()
            self._joins.setdefault(endpoint, []).append(future)
            waiting.append(future)
            self._core.join(endpoint, self._clock(), ignore_old_events=ignore_old_events)
        self._flush()
        errors = await asyncio.gather(*waiting)
        reached = errors.count(None)
        if not reached:
            reasons = "; ".join(
                f"{Endpoint(*address)}: {error}" for address, error in zip(addresses, errors, strict=True)
            )
            raise GossipError(f"no member could be reached: {reasons or 'no address given'}")
        return reached

    async def leave(self) -> None:
        """Leaves gracefully: returns when the leave has been broadcast. Then call `close`."""
        self._left = asyncio.get_running_loop().create_future()
        self._core.leave(self._clock())
        self._flush()
        await self._left

    async def close(self) -> None:
        """Stops without leaving; other members consider the node failed unless it left before."""
        self._core.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._udp is not None:
            asyncio.get_running_loop().remove_reader(self._udp)
            self._udp.close()
            self._udp = None
        if self._server is not None:
            self._server.close()
        self._links.close()
        await self._tasks.stop()
        if self._server is not None:
            await self._server.wait_closed()
        for joins in self._joins.values():
            for join in joins:
                join.cancel()
        for query in self._queries.values():
            query.cancel()
        if self._left is not None:
            self._left.cancel()

    # Operations of a member

    def members(self) -> Mapping[str, Member]:
        """Returns all members by name, including this one; a copy."""
        return self._core.members()

    def member(self, name: str) -> Member | None:
        """Returns one member."""
        return self._core.member(name)

    def rtt(self, a: str, b: str | None = None) -> float | None:
        """Returns the estimated round-trip time in seconds between `a` and `b` (default: this node), if both are
        known."""
        return self._core.rtt(a, b)

    @property
    def counters(self) -> Counters:
        """Totals since start."""
        return self._core.counters

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Replaces this node's tags. Raises GossipError above 512 bytes."""
        self._core.set_tags(tags, self._clock())
        self._flush()

    def user_event(self, name: str, payload: bytes, *, coalesce: bool = False) -> None:
        """Sends an event to all members, including this one. Raises GossipError above 512 bytes (encoded)."""
        self._core.user_event(name, payload, self._clock(), coalesce=coalesce)
        self._flush()

    def force_leave(self, name: str, *, prune: bool = False) -> None:
        """Turns a failed member into one that left; `prune` removes it. Raises GossipError for this node's own name."""
        self._core.force_leave(name, self._clock(), prune=prune)
        self._flush()

    def on_query(self, name: str, handler: QueryHandler) -> None:
        """Answers queries called `name` with the result of `handler`; None is no answer. Raises ValueError if there
        is a handler already."""
        if name in self._handlers:
            raise ValueError(f"the query {name} already has a handler")
        self._handlers[name] = handler

    async def query(
        self,
        name: str,
        payload: bytes = b"",
        *,
        nodes: Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
        ack: bool = False,
        relay_factor: int = 0,
        timeout: float | None = None,
        enough: Callable[[bytes], bool] | None = None,
        direct: bool = False,
    ) -> QueryResult:
        """Queries all members, those in `nodes`, or those whose tags match the (RE2) expressions in `tags`;
        `direct`: one datagram to each of them, instead of rebroadcasting the query through all members.

        Returns when all of them have answered, when `enough` accepts an answer, or after `timeout` seconds (default:
        gossip-wire §6). Raises GossipError if the query is too large or an expression is invalid.
        """
        question = QueryRequest(
            name,
            payload,
            nodes,
            tags,
            ack,
            relay_factor,
            timeout,
            expect_self=name in self._handlers,
            enough=enough,
            direct=direct,
        )
        outstanding = await self._finished(self._core.query(question, self._clock()))
        return QueryResult(outstanding.expected, frozenset(outstanding.acks), dict(outstanding.responses))

    async def change_keys(
        self, operation: KeyOperation, key: bytes = b"", nodes: Sequence[str] | None = None
    ) -> KeyResult:
        """Lets all members, or `nodes`, install, use or remove a key, or list their keyrings."""
        outstanding = await self._finished(self._core.key_query(operation, key, self._clock(), nodes))
        return collect(outstanding.expected, outstanding.responses)

    # Internals

    async def _finished(self, outstanding: OutstandingQuery) -> OutstandingQuery:
        future = self._queries[outstanding.id] = asyncio.get_running_loop().create_future()
        self._flush()
        try:
            await future
        finally:
            self._queries.pop(outstanding.id, None)
        return outstanding

    async def _bind(self) -> None:
        host = str(self.config.address)
        family = socket.AF_INET if self.config.address.version == 4 else socket.AF_INET6
        for attempt in range(_BIND_ATTEMPTS):
            self._server = await asyncio.start_server(self._links.serve, host, self.port, backlog=128)
            port = self._server.sockets[0].getsockname()[1]
            udp = socket.socket(family, socket.SOCK_DGRAM)
            try:
                udp.setblocking(False)
                udp.bind((host, port))
            except OSError:
                udp.close()
                self._server.close()
                # Any free port was requested, and its UDP counterpart is in use: try another one.
                if self.port or attempt == _BIND_ATTEMPTS - 1:
                    raise
            else:
                break
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        self._udp, self.port = udp, port
        asyncio.get_running_loop().add_reader(udp, self._readable)

    def _readable(self) -> None:
        udp, core = self._udp, self._core
        if udp is None:
            return
        try:
            for _ in range(_DATAGRAMS_A_TURN):
                try:
                    data, source = udp.recvfrom(_LARGEST_DATAGRAM_BYTES)
                except BlockingIOError:
                    break
                except OSError:
                    core.counters.refuse("socket: receive error")
                    break
                with DATAGRAMS.fence(source[0]):
                    core.receive_datagram(data, _endpoint(source[0], source[1]), self._clock())
        finally:
            self._flush()

    def _on_timer(self) -> None:
        self._timer = self._timer_due = None
        try:
            self._core.handle_timers(self._clock())
        finally:
            self._flush()

    def _flush(self) -> None:
        """Performs the core's pending actions; whatever their outcome, the timer is armed."""
        core = self._core
        try:
            for data, endpoint in core.datagrams_to_send():
                with OUTPUT.fence(endpoint):
                    self._send(data, endpoint)
            for action in core.stream_actions():
                with OUTPUT.fence():
                    self._act(action)
            for notification in core.events():
                with OUTPUT.fence(type(notification).__name__):
                    self._notify(notification)
        finally:
            self._arm(core.next_timer())

    def _act(self, action: StreamAction) -> None:
        match action:
            case OpenStream():
                self._tasks.start(self._links.open(action), str(action.endpoint))
            case WriteStream(stream_id, payload):
                self._links.end(stream_id, payload)
            case CloseStream(stream_id):
                self._links.end(stream_id, b"")

    def _send(self, data: bytes, endpoint: Endpoint) -> None:
        if self._udp is None:
            return
        if endpoint.address.version != self.config.address.version:
            self._core.counters.send_errors += 1
            return
        try:
            self._udp.sendto(data, sockaddr(endpoint))
        except OSError:
            # The protocol is designed for unreachable and congested paths.
            self._core.counters.send_errors += 1

    def _arm(self, due: float | None) -> None:
        if due == self._timer_due or self._udp is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_due = due
        if due is not None:
            delay = max(0.0, due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _notify(self, notification: SerfEvent) -> None:
        match notification:
            case JoinFinished(endpoint, error):
                for future in self._joins.pop(endpoint, []):
                    _resolve(future, error)
            case QueryFinished(query_id):
                if (waiting := self._queries.get(query_id)) is not None:
                    _resolve(waiting, None)
            case LeaveFinished():
                if self._left is not None:
                    _resolve(self._left, None)
            case QueryReceived():
                if notification.name in self._handlers:
                    self._tasks.start(self._answer(notification), notification.source_member or "")
            case _:
                self.events.put(notification)

    async def _answer(self, query: QueryReceived) -> None:
        answer: bytes | None = None
        with QUERIES.fence(query.source_member):
            found = self._handlers[query.name](query)
            answer = await found if isawaitable(found) else found
        try:
            if answer is not None:
                self._core.respond(query.ltime, query.id, answer, self._clock())
                self._flush()
        except QueryOverError:
            self.counters.refuse("query: our answer came too late")
            _log.debug("query answered too late", query=query.name, asker=query.source_node)
        except GossipError as error:
            self.counters.refuse("query: our answer could not be sent")
            QUERIES.reject("unanswered", query.source_member, str(error))


def _work_failed(with_whom: str, error: Exception) -> None:
    try:
        with WORK.fence(with_whom):
            raise error
    finally:
        # Its traceback references this frame: both would wait for the cycle collector.
        del error


def _resolve(future: asyncio.Future[str | None] | asyncio.Future[None], value: str | None) -> None:
    if not future.done():
        future.set_result(value)  # type: ignore[arg-type]


@forgotten_between_bursts
@lru_cache(maxsize=CACHED_ENDPOINTS)
def _endpoint(host: str, port: int) -> Endpoint:
    return Endpoint(ip_address(host.partition("%")[0]), port)
