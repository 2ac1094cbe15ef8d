"""Small tries at reaching another: is there a route, does a port answer, is a connection taken. With few packets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from wgmesh_agent.linux.route_lookup import route_to
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.model import Endpoint, IPAddress, Network

CONNECT_SECONDS = 2.0
KNOCK_SECONDS = 0.1
TIMES = 50
"""Machines answer about one such error a second to the same address: who else sends there may have got it."""


def route_trouble(address: IPAddress, ranges: Sequence[Network]) -> str:
    """Why no packet can be sent to an endpoint's address; empty if it can."""
    try:
        route = route_to(address)
    except KernelError as error:
        return str(error)
    if any(route.source.version == one.version and route.source in one for one in ranges):
        return f"packets to {address} would be sent from {route.source}, into the tunnel itself"
    return ""


class _Listening(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_result(getattr(exc, "strerror", None) or str(exc))


async def port_answer(endpoint: Endpoint) -> str:
    """What the network says when a byte is sent to a UDP port, such as `Connection refused`; empty if nothing."""
    loop = asyncio.get_running_loop()
    try:
        transport, listening = await loop.create_datagram_endpoint(
            _Listening, remote_addr=(str(endpoint.address), endpoint.port)
        )
    except OSError as error:
        return error.strerror or str(error)
    try:
        for _ in range(TIMES):
            transport.sendto(b"\0")
            done, _ = await asyncio.wait([listening.answer], timeout=KNOCK_SECONDS)
            if done:
                return listening.answer.result()
        return ""
    finally:
        transport.close()


async def connection_trouble(address: IPAddress, port: int, source: IPAddress) -> str:
    """Why a TCP connection is not made; empty if it is."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(str(address), port, local_addr=(str(source), 0))
    except TimeoutError:
        return f"no answer within {CONNECT_SECONDS:g} s"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return ""
