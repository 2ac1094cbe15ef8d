"""Resolves names without waiting for name servers that are not reachable yet.

The resolver waits 5 s for a server and 10 s in total, and does not notice that the network has come up since. So a
look-up is awaited for a short time only; it continues, the next call starts another, and the first result counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import ip_address

import structlog

from wgmesh_agent.wireguard.model import IPAddress

log = structlog.get_logger()
WAIT_SECONDS = 1.0
MOST_UNDER_WAY = 8
"""Look-ups of one name: old ones that a slow server may still answer, and always one that uses the current network."""
_threads = ThreadPoolExecutor(2 * MOST_UNDER_WAY, thread_name_prefix="look up")
_under_way: dict[tuple[str, int], list[Future[list[IPAddress]]]] = {}


class NameServiceAway(Exception):
    """A name could not be resolved for now, which proves nothing about the name."""


async def addresses_of(host: str, port: int) -> list[IPAddress]:
    """The addresses of a host name or address; empty if there is no such name. Raises NameServiceAway."""
    with contextlib.suppress(ValueError):
        return [ip_address(host.partition("%")[0])]
    running = _under_way.setdefault((host, port), [])
    if len(running) < MOST_UNDER_WAY:
        running.append(_threads.submit(_look_up, host, port))
    waits = [asyncio.wrap_future(one) for one in running]
    for one in waits:
        one.add_done_callback(_seen)
    done, _ = await asyncio.wait(waits, timeout=WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if not done:
        raise NameServiceAway(f"no name server responds for {host}")
    _under_way.pop((host, port), None)
    try:
        return next(iter(done)).result()
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise NameServiceAway(f"no name server responds for {host}") from error
        return []
    except (OSError, UnicodeError):
        return []


async def resolve(host: str, port: int) -> list[IPAddress]:
    """The addresses of a host name or address; empty if it does not resolve."""
    try:
        return await addresses_of(host, port)
    except NameServiceAway as error:
        log.debug("name does not resolve", host=host, error=str(error))
        return []


def _look_up(host: str, port: int) -> list[IPAddress]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _seen(future: asyncio.Future[list[IPAddress]]) -> None:
    """The exception of an abandoned look-up is no fault."""
    if not future.cancelled():
        future.exception()
