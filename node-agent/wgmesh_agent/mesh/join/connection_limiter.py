"""The listener of the join port: bounds connections by source, in all and in time, in front of gRPC.

gRPC accepts whoever connects, counts nobody, and has no bound by source. So the port is listened on here; what is
accepted within the bounds is passed on, byte for byte, to the gRPC server, which listens on an abstract unix socket and
ends TLS. The address of the caller travels as the name of the unix socket that speaks for it (ADR 032).
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
from wgmesh_agent.runtime.closing import abort
from wgmesh_agent.runtime.rate_limit import RateLimit
from wgmesh_agent.wireguard.model import IPAddress

log = structlog.get_logger()
CONNECTIONS = border("join connection", "TCP connections to the join port, from anywhere")
MAX_CONNECTIONS = 256
MAX_CONNECTIONS_A_SOURCE = 128
"""Of an IPv4 address or an IPv6 /64: as many machines behind one NAT join at once, and more one after the other."""
CONNECTIONS_A_SECOND_A_SOURCE = 16
"""After a first MAX_CONNECTIONS_A_SOURCE; further ones are closed before they cost a TLS handshake."""
LEAST_CONNECTIONS = 8
DESCRIPTORS_A_CONNECTION = 3
DESCRIPTORS_KEPT = 224
"""In reserve for gossip (128 streams), state files, netlink, the agent's socket and metrics."""
IDLE_SECONDS = 20.0
"""Without a byte in either direction. A join's longest pause is the question whether a member lives, 3 s."""
CLOSE_SECONDS = 2.0
MAX_SECONDS = 90.0
"""For a connection in all: Begin, Join and Peers have 10 s each."""
BACKLOG = 128
CHUNK_BYTES = 8 * 1024
"""Read at once, and of what waits to be written: some ten of them wait at a connection whose ends do not read."""


def most_connections() -> int:
    """As many as the process has descriptors for, with DESCRIPTORS_KEPT for all else; MAX_CONNECTIONS at most."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(
        LEAST_CONNECTIONS, min(MAX_CONNECTIONS, (limit - DESCRIPTORS_KEPT) // DESCRIPTORS_A_CONNECTION)
    )


@dataclass(eq=False, slots=True)
class _Connection:
    """One that is open; `heard` is when the last byte passed, in the loop's seconds."""

    source: str
    task: asyncio.Task[None]
    heard: float


class ConnectionFront:
    """Listens on the join port for a gRPC server at `inner`."""

    def __init__(self, most: int = MAX_CONNECTIONS, most_of_one: int = MAX_CONNECTIONS_A_SOURCE) -> None:
        """`most` connections in all, `most_of_one` of one source."""
        self._most = most
        self._most_of_one = most_of_one
        self._name = f"wgmesh-{secrets.token_hex(16)}"
        self._connections: dict[_Connection, None] = {}
        self._opened = RateLimit(CONNECTIONS_A_SECOND_A_SOURCE, MAX_CONNECTIONS_A_SOURCE)
        self._server: asyncio.Server | None = None

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def inner(self) -> str:
        """Where the gRPC server is to listen, as gRPC writes it."""
        return f"unix-abstract:{self._name}"

    async def start(self, bind: str) -> None:
        """Listens on `address:port`. Raises OSError if it cannot."""
        host, _, port = bind.rpartition(":")
        listener = _listener(ip_address(host.strip("[]")), int(port))
        self._server = await asyncio.start_server(self._accepted, sock=listener, limit=CHUNK_BYTES)

    def stop_listening(self) -> None:
        """Accepts no more connections; those that are open stay."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Ends all connections."""
        self.stop_listening()
        tasks = [connection.task for connection in self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("peername")
        task = asyncio.current_task()
        if not address or task is None:
            abort(writer)
            return
        caller = _unmapped(ip_address(address[0].partition("%")[0]))
        source, now = counted_source(caller), asyncio.get_running_loop().time()
        if not self._opened.take(source, now):
            CONNECTIONS.reject(
                "too_often", source, "this source opens connections faster than any number of joins"
            )
            abort(writer)
            return
        connection = _Connection(source, task, now)
        self._connections[connection] = None
        self._make_room(connection)
        try:
            with CONNECTIONS.fence(caller, passing=(OSError, TimeoutError)):
                await self._pass_on(connection, reader, writer, caller, address[1])
        except TimeoutError:
            CONNECTIONS.reject("too_slow", caller, "nothing passed for long, or it took too long in all")
        except OSError as error:
            log.debug("join connection ended", peer=str(caller), error=error.strerror)
        except asyncio.CancelledError:
            # To make room, or since this node stops: the task ends here, and asyncio would log it as a fault.
            log.debug("join connection closed", peer=str(caller))
        finally:
            self._connections.pop(connection, None)
            abort(writer)

    def _make_room(self, newest: _Connection) -> None:
        """Ends the oldest connection of a source that has too many; of the one with most, where all are too many."""
        held = Counter(one.source for one in self._connections)
        if held[newest.source] > self._most_of_one:
            source, reason = newest.source, "too_many_of_source"
        elif len(self._connections) > self._most:
            source, reason = held.most_common(1)[0][0], "too_many"
        else:
            return
        oldest = next(one for one in self._connections if one.source == source)
        del self._connections[oldest]
        CONNECTIONS.reject(reason, source, "the oldest connection of this source was closed")
        oldest.task.cancel()

    async def _pass_on(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        caller: IPAddress,
        port: int,
    ) -> None:
        inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            inner.setblocking(False)
            inner.bind(f"\0{self._name}.{secrets.token_hex(4)}.{caller.packed.hex()}.{port}")
            await asyncio.get_running_loop().sock_connect(inner, f"\0{self._name}")
            inner_reader, inner_writer = await asyncio.open_unix_connection(sock=inner, limit=CHUNK_BYTES)
        except BaseException:
            inner.close()
            raise
        pumps = [
            asyncio.create_task(_pump(connection, reader, inner_writer)),
            asyncio.create_task(_pump(connection, inner_reader, writer)),
        ]
        try:
            await _first_end(connection, pumps)
            # What gRPC said last, such as why it goes, is still on its way.
            async with asyncio.timeout(CLOSE_SECONDS):
                writer.close()
                await writer.wait_closed()
        finally:
            abort(inner_writer)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes bytes on until one end closes its side. Raises OSError."""
    loop = asyncio.get_running_loop()
    writer.transport.set_write_buffer_limits(high=CHUNK_BYTES)
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
        connection.heard = loop.time()


async def _first_end(connection: _Connection, pumps: list[asyncio.Task[None]]) -> None:
    """Waits until one direction has ended. Raises its error, or TimeoutError: the connection was idle, or too old."""
    loop = asyncio.get_running_loop()
    end = loop.time() + MAX_SECONDS
    while (due := min(end, connection.heard + IDLE_SECONDS)) > loop.time():
        done, _ = await asyncio.wait(pumps, timeout=due - loop.time(), return_when=asyncio.FIRST_COMPLETED)
        if done:
            for pump in done:
                pump.result()
            return
    raise TimeoutError


def _unmapped(address: IPAddress) -> IPAddress:
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _listener(address: IPAddress, port: int) -> socket.socket:
    """A listening socket; the unspecified address of either version listens on both versions, as with gRPC."""
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
