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
    """Makes WireGuard start handshakes; `trigger_handshakes` does."""

    def __call__(self, addresses: Iterable[IPAddress], /) -> None:
        """With the members of these mesh addresses, now and not at the first real packet."""


async def trigger_in_chunks(trigger: HandshakeTrigger, addresses: Sequence[IPAddress]) -> None:
    """In chunks: thousands of datagrams would block the event loop for long."""
    for start in range(0, len(addresses), CHUNK_SIZE):
        if start:
            await asyncio.sleep(0)
        trigger(addresses[start : start + CHUNK_SIZE])


def trigger_handshakes(addresses: Iterable[IPAddress]) -> None:
    """Sends one datagram to each mesh address, so that WireGuard starts a handshake now and not at the first user
    packet.

    Both ends of a new pair do this; the one that programmed its peer last succeeds, without the five seconds after
    which WireGuard would retry.
    """
    sockets: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        for address in addresses:
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            try:
                # Descriptors may be exhausted, or the machine may lack the address family. A missing trigger only
                # delays the handshake.
                if family not in sockets:
                    sockets[family] = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                    sockets[family].setblocking(False)
                sockets[family].sendto(b"\0", (str(address), DISCARD_PORT))
            except OSError as error:
                log.debug("handshake trigger not sent", address=str(address), error=error.strerror)
