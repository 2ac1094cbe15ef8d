"""The listener of the join port: limits connections by source, in total and in time, in front of gRPC.

gRPC accepts every connection, and has no limit by source. Therefore this listener accepts connections within the limits
and forwards their bytes to the gRPC server, which listens on an abstract Unix socket and terminates TLS. The caller's
address is passed as the name of the Unix socket that connects on its behalf (ADR 032).
"""

from __future__ import annotations

import asyncio
import errno
import resource
import secrets
import socket
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

import structlog

from wgmesh_agent.mesh.grpc_peer import counted_source
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.rate_limit import RateLimit
from wgmesh_agent.wireguard.model import IPAddress

log = structlog.get_logger()
CONNECTIONS = border("join connection", "TCP connections to the join port, from anywhere")
MAX_CONNECTIONS = 256
MAX_CONNECTIONS_A_SOURCE = 128
"""Of an IPv4 address or an IPv6 /64: that many machines behind one NAT can join at once, and more one after the
other.
"""
CONNECTIONS_A_SECOND_A_SOURCE = 16
"""After a first MAX_CONNECTIONS_A_SOURCE; further ones are closed before they cost a TLS handshake."""
LEAST_CONNECTIONS = 8
DESCRIPTORS_A_CONNECTION = 3
DESCRIPTORS_KEPT = 224
"""Reserved for gossip (128 streams), state files, netlink, the agent's socket and metrics."""
IDLE_SECONDS = 20.0
"""Without a byte in either direction. A join's longest pause is the liveness query of a member, 3 s."""
MAX_SECONDS = 90.0
"""Total duration of a connection: Begin, Join and Peers have 10 s each."""
BACKLOG = 128
AGAIN_SECONDS = 1.0
"""Pause before connections are accepted again after descriptors were exhausted."""
CHUNK_BYTES = 8 * 1024
"""Bytes per read, and of the write buffer: some ten of them are buffered for a connection whose ends do not read."""


def most_connections() -> int:
    """As many as the process has descriptors for, minus DESCRIPTORS_KEPT; at most MAX_CONNECTIONS."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(
        LEAST_CONNECTIONS, min(MAX_CONNECTIONS, (limit - DESCRIPTORS_KEPT) // DESCRIPTORS_A_CONNECTION)
    )


@dataclass(eq=False, slots=True)
class _Connection:
    """An open connection; `opened`, and `heard`, the time of the last byte, are seconds of the loop."""

    source: str
    outer: socket.socket
    opened: float
    heard: float


class ConnectionFront:
    """Listens on the join port for a gRPC server at `inner`.

    Uses sockets instead of asyncio's streams: connections without end would leave cycles of transports and tracebacks
    behind, for the garbage collector to traverse.
    """

    def __init__(self, most: int = MAX_CONNECTIONS, most_of_one: int = MAX_CONNECTIONS_A_SOURCE) -> None:
        """`most` connections in total, `most_of_one` from one source."""
        self._most = most
        self._most_of_one = most_of_one
        self._name = f"wgmesh-{secrets.token_hex(16)}"
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._opened = RateLimit(CONNECTIONS_A_SECOND_A_SOURCE, MAX_CONNECTIONS_A_SOURCE)
        self._listener: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def inner(self) -> str:
        """The listening address for the gRPC server, in gRPC's notation."""
        return f"unix-abstract:{self._name}"

    @property
    def port(self) -> int:
        """The address this listens on. Raises OSError if it does not."""
        if self._listener is None:
            raise OSError(errno.EBADF, "the join port is not bound")
        return int(self._listener.getsockname()[1])

    async def start(self, bind: str) -> None:
        """Listens on `address:port`. Raises OSError if it cannot."""
        host, _, port = bind.rpartition(":")
        self._listener = _listener(ip_address(host.strip("[]")), int(port))
        self._listen()

    def stop_listening(self) -> None:
        """Accepts no more connections; open ones stay."""
        if self._again is not None:
            self._again.cancel()
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def close(self) -> None:
        """Closes all connections."""
        self.stop_listening()
        tasks = list(self._connections.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accepts all waiting connections, up to the backlog."""
        loop = asyncio.get_running_loop()
        for _ in range(BACKLOG):
            try:
                outer, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # No descriptor or memory: the waiting connection would wake this loop again at once.
                log.warning("cannot accept connections to the join port", error=error.strerror)
                loop.remove_reader(listener)
                self._again = loop.call_later(AGAIN_SECONDS, self._listen)
                return
            with CONNECTIONS.fence(address[0]):
                self._accepted(outer, address)

    def _accepted(self, outer: socket.socket, address: tuple[str, int]) -> None:
        caller = _unmapped(ip_address(address[0].partition("%")[0]))
        loop = asyncio.get_running_loop()
        source, now = counted_source(caller), loop.time()
        if not self._opened.take(source, now):
            outer.close()
            CONNECTIONS.reject("too_often", source, "this source opens connections faster than joins require")
            return
        connection = _Connection(source, outer, now, now)
        task = loop.create_task(self._serve(connection, caller, address[1]))
        task.add_done_callback(lambda _task: self._ended(connection))
        self._connections[connection] = task
        self._make_room(connection)

    async def _serve(self, connection: _Connection, caller: IPAddress, port: int) -> None:
        try:
            with CONNECTIONS.fence(caller, passing=(OSError,)):
                await self._pass_on(connection, caller, port)
        except OSError as error:
            log.debug("join connection ended", peer=str(caller), error=error.strerror)
        except asyncio.CancelledError:
            # Cancelled for lack of room, or because this node stops: the task ends here; otherwise asyncio would log a
            # fault.
            log.debug("join connection closed", peer=str(caller))

    def _ended(self, connection: _Connection) -> None:
        """Also for a task that was cancelled before it started."""
        self._connections.pop(connection, None)
        connection.outer.close()

    def _make_room(self, newest: _Connection) -> None:
        """Closes the oldest connection of a source that has too many, or of the source with the most if the total is
        too high.
        """
        held = Counter(one.source for one in self._connections)
        if held[newest.source] > self._most_of_one:
            source, reason = newest.source, "too_many_of_source"
        elif len(self._connections) > self._most:
            source, reason = held.most_common(1)[0][0], "too_many"
        else:
            return
        oldest = next(one for one in self._connections if one.source == source)
        self._connections.pop(oldest).cancel()
        CONNECTIONS.reject(reason, source, "the oldest connection of this source was closed")

    async def _pass_on(self, connection: _Connection, caller: IPAddress, port: int) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as inner:
            inner.setblocking(False)
            inner.bind(f"\0{self._name}.{secrets.token_hex(4)}.{caller.packed.hex()}.{port}")
            connection.outer.setblocking(False)
            connection.outer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(inner, f"\0{self._name}")
            pumps = [
                loop.create_task(_pump(connection, connection.outer, inner)),
                loop.create_task(_pump(connection, inner, connection.outer)),
            ]
            try:
                why = await _first_end(connection, pumps)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.wait(pumps)
        if why is None:
            CONNECTIONS.reject(
                "too_slow", caller, "the connection was idle for too long, or took too long in total"
            )
        else:
            log.debug("join connection ended", peer=str(caller), reason=why)


async def _pump(connection: _Connection, source: socket.socket, target: socket.socket) -> str:
    """Forwards bytes until one end closes its side; returns why it ended."""
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(source, CHUNK_BYTES):
            await loop.sock_sendall(target, data)
            connection.heard = loop.time()
    except OSError as error:
        # The traceback refers to asyncio's own frames.
        error.__traceback__ = None
        return error.strerror or str(error)
    except asyncio.CancelledError:
        return "the other direction ended"
    return "closed"


async def _first_end(connection: _Connection, pumps: list[asyncio.Task[str]]) -> str | None:
    """Waits until one direction has ended; returns why. None: the connection was idle for too long, or is too old."""
    loop = asyncio.get_running_loop()
    end = connection.opened + MAX_SECONDS
    while (due := min(end, connection.heard + IDLE_SECONDS)) > loop.time():
        done, _ = await asyncio.wait(pumps, timeout=due - loop.time(), return_when=asyncio.FIRST_COMPLETED)
        if done:
            return done.pop().result()
    return None


def _unmapped(address: IPAddress) -> IPAddress:
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _listener(address: IPAddress, port: int) -> socket.socket:
    """A listening socket; the unspecified address of either version listens on both versions, as in gRPC."""
    if address.is_unspecified:
        try:
            return _bound(socket.AF_INET6, "::", port, both=True)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return _bound(socket.AF_INET, "0.0.0.0", port)  # noqa: S104
    return _bound(socket.AF_INET if address.version == 4 else socket.AF_INET6, str(address), port)


def _bound(family: socket.AddressFamily, host: str, port: int, *, both: bool = False) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
