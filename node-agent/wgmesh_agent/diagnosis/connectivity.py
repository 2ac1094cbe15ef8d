"""Connectivity checks for `doctor`: route, UDP port, TCP connect. Sends few packets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from wgmesh_agent.linux.route_lookup import lookup_route
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.model import Endpoint, IPAddress, Network

CONNECT_SECONDS = 2.0
ATTEMPT_INTERVAL_SECONDS = 0.1
MAX_ATTEMPTS = 50
"""Machines send about one such error a second to the same address: another sender may have received it instead."""


def check_route(address: IPAddress, ranges: Sequence[Network]) -> str:
    """Why no packet can be sent to an endpoint's address; empty if one can."""
    try:
        route = lookup_route(address)
    except KernelError as error:
        return str(error)
    if any(route.source.version == one.version and route.source in one for one in ranges):
        return f"packets to {address} would be sent from {route.source}, into the tunnel itself"
    return ""


class _ErrorListener(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_result(getattr(exc, "strerror", None) or str(exc))


async def check_udp_port(endpoint: Endpoint) -> str:
    """The error returned when a byte is sent to a UDP port, such as `Connection refused`; empty if none."""
    loop = asyncio.get_running_loop()
    try:
        transport, listening = await loop.create_datagram_endpoint(
            _ErrorListener, remote_addr=(str(endpoint.address), endpoint.port)
        )
    except OSError as error:
        return error.strerror or str(error)
    try:
        for _ in range(MAX_ATTEMPTS):
            transport.sendto(b"\0")
            done, _ = await asyncio.wait([listening.answer], timeout=ATTEMPT_INTERVAL_SECONDS)
            if done:
                return listening.answer.result()
        return ""
    finally:
        transport.close()


async def check_tcp(address: IPAddress, port: int, source: IPAddress) -> str:
    """Why a TCP connection fails; empty if it succeeds."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(str(address), port, local_addr=(str(source), 0))
    except TimeoutError:
        return f"no answer within {CONNECT_SECONDS:g} s"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return ""
