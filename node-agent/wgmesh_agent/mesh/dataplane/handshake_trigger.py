"""A datagram to a mesh address, so that WireGuard starts a handshake."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Sequence
from typing import Protocol

import structlog

from wgmesh_agent.runtime.chunks import CHUNK_SIZE
from wgmesh_agent.wireguard.model import IPAddress

log = structlog.get_logger()

DISCARD_PORT = 9


class HandshakeTrigger(Protocol):
    """Has WireGuard shake hands; `trigger_handshakes` does."""

    def __call__(self, addresses: Iterable[IPAddress], /) -> None:
        """With the members of these mesh addresses, now and not at the first real packet."""


async def trigger_in_chunks(trigger: HandshakeTrigger, addresses: Sequence[IPAddress]) -> None:
    """Some at a time: thousands of datagrams hold the event loop for long."""
    for start in range(0, len(addresses), CHUNK_SIZE):
        if start:
            await asyncio.sleep(0)
        trigger(addresses[start : start + CHUNK_SIZE])


def trigger_handshakes(addresses: Iterable[IPAddress]) -> None:
    """Sends one datagram to each mesh address, so that WireGuard shakes hands now and not at the first real packet.

    Both ends of a new pair do this; whichever programmed the other last succeeds, and nobody waits for the five
    seconds after which WireGuard would try again.
    """
    sockets: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        for address in addresses:
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            try:
                # Descriptors may have run out, or the machine may lack the family: a knock that is not sent is nothing.
                if family not in sockets:
                    sockets[family] = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                    sockets[family].setblocking(False)
                sockets[family].sendto(b"\0", (str(address), DISCARD_PORT))
            except OSError as error:
                log.debug("handshake trigger not sent", address=str(address), error=error.strerror)
