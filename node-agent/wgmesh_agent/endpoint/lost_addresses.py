"""Tells when this machine loses an address: a lease that ran out, a cable moved to another network."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port (netlink(7))
_ALIGNMENT = 4
_RTM_DELADDR = 21
_IPV4_ADDRESSES, _IPV6_ADDRESSES = 0x10, 0x100
_RECEIVE_BYTES = 1 << 16


async def lost_addresses() -> AsyncIterator[None]:
    """One item for each time the kernel tells of addresses gone, of whatever interface. Raises OSError."""
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    ) as news:
        news.bind((0, _IPV4_ADDRESSES | _IPV6_ADDRESSES))
        while True:
            try:
                data = await asyncio.get_running_loop().sock_recv(news, _RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                # More news than the socket holds: among what was lost may be just this.
                yield None
                continue
            if _RTM_DELADDR in message_types(data):
                yield None


def message_types(data: bytes) -> Iterator[int]:
    """The types of the netlink messages in a datagram, as far as it is whole."""
    position = 0
    while len(data) - position >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data, position)
        if length < _HEADER.size:
            return
        yield kind
        position += (length + _ALIGNMENT - 1) & -_ALIGNMENT
