"""Small HTTP server for unauthenticated requests: limited in connections, in bytes, and in time.

It has its own thread and event loop: health must be answered while the agent's loop is blocked. Each connection has one
request, of a few kilobytes, to be sent within seconds. If there are too many connections, the oldest of the source with
the most is closed: a slow source cannot prevent answers to others.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.closing import abort

log = structlog.get_logger()
REQUESTS = border("health request", "HTTP on the port of health and metrics, from any source")
MOST_CONNECTIONS = 64
MOST_OF_ONE_SOURCE = 16
REQUEST_SECONDS = 5.0
"""For a complete request: Prometheus and kubelets send theirs at once."""
ANSWER_SECONDS = 10.0
MOST_REQUEST_BYTES = 16 * 1024
SITE_BITS = 64
"""The owner of an IPv6 address has a /64 of them."""
TEXT = "text/plain; charset=utf-8"

REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and its content type."""

    status: int
    body: bytes
    kind: str = TEXT


class HTTPServer:
    """Answers GET; started and stopped once. `answer` is called on the server's own loop."""

    def __init__(self, answer: Callable[[str], Awaitable[Answer]]) -> None:
        self._answer = answer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = asyncio.Event()
        self._sources: dict[asyncio.Task[None], str] = {}
        self.port = 0

    def start(self, port: int) -> None:
        """Listens on all addresses, of IPv6 too if the machine has it. Raises OSError: the port is in use."""
        listening = _listening(port)
        self.port = int(listening.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_quietly)
        self._thread = threading.Thread(
            target=self._run, args=(self._loop, listening), name="health", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stops listening, and waits for that."""
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(self._stopping.set)
            thread.join()

    def _run(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._until_stopped(listening))
        finally:
            loop.close()

    async def _until_stopped(self, listening: socket.socket) -> None:
        server = await asyncio.start_server(self._accept, sock=listening, limit=MOST_REQUEST_BYTES)
        await self._stopping.wait()
        server.close()
        for task in list(self._sources):
            task.cancel()
        await asyncio.gather(*self._sources, return_exceptions=True)
        await server.wait_closed()
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = _source(writer)
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, source))
        self._sources[task] = source
        task.add_done_callback(lambda done: self._ended(done, writer))
        self._make_room(source)

    def _ended(self, task: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        """Also for a connection whose handler never started."""
        self._sources.pop(task, None)
        # At once: a client that does not read would keep it open otherwise.
        abort(writer)

    def _make_room(self, newest: str) -> None:
        """The dictionary has the order in which connections were accepted."""
        held = Counter(self._sources.values())
        greedy = ""
        if held[newest] > MOST_OF_ONE_SOURCE:
            greedy = newest
        elif len(self._sources) > MOST_CONNECTIONS:
            greedy = held.most_common(1)[0][0]
        if greedy:
            oldest = next(task for task, source in self._sources.items() if source == greedy)
            # Removed here at once: others may be accepted before it has ended.
            del self._sources[oldest]
            oldest.cancel()
            REQUESTS.reject("too many connections", greedy, "the connection that waited longest was closed")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str) -> None:
        with REQUESTS.fence(source):
            await self._exchange(reader, writer, source)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str
    ) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            # A connection without a request, by a load balancer or a scanner that checks the port.
            return
        except TimeoutError:
            REQUESTS.reject("slow request", source, f"no complete request within {REQUEST_SECONDS:g} s")
            return
        except asyncio.LimitOverrunError:
            REQUESTS.reject("long request", source, f"a request of more than {MOST_REQUEST_BYTES} bytes")
            return
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await self._answered(head)
            lines = [
                f"HTTP/1.1 {answer.status} {REASONS[answer.status]}",
                f"Content-Type: {answer.kind}",
                f"Content-Length: {len(answer.body)}",
                "Connection: close",
            ]
            writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + answer.body)
            writer.transport.set_write_buffer_limits(high=0)
            await writer.drain()

    async def _answered(self, head: bytes) -> Answer:
        words = head.partition(b"\r\n")[0].split()
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return Answer(400, b"no HTTP request\n")
        if words[0] != b"GET":
            return Answer(405, b"GET only\n")
        return await self._answer(words[1].decode("ascii", "replace").partition("?")[0])


def _listening(port: int) -> socket.socket:
    # The kubelet probes the node's own address, which may be one of IPv6.
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    return socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6)


def _source(writer: asyncio.StreamWriter) -> str:
    """The key under which a connection is counted: an IPv4 address, or a /64 of IPv6."""
    peer = writer.get_extra_info("peername")
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except (TypeError, ValueError):
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    mapped = address.ipv4_mapped
    return (
        str(mapped) if mapped is not None else str(ipaddress.ip_network((address, SITE_BITS), strict=False))
    )


def _quietly(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Keeps tracebacks of broken connections out of the log."""
    log.debug(
        "health server error", what=str(context.get("message", "")), error=repr(context.get("exception"))
    )
