"""Tells when this machine gets or loses an address: a new lease, a cable moved to another network."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port (netlink(7))
_ALIGNMENT = 4
_RTM_NEWADDR, _RTM_DELADDR = 20, 21
_IPV4_ADDRESSES, _IPV6_ADDRESSES = 0x10, 0x100
_RECEIVE_BYTES = 1 << 16


async def address_changes() -> AsyncIterator[bool]:
    """One item for each time the kernel tells of addresses come or gone, of whatever interface: whether any may have
    gone. Raises OSError.
    """
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
                yield True
                continue
            kinds = set(message_types(data))
            if kinds & {_RTM_NEWADDR, _RTM_DELADDR}:
                yield _RTM_DELADDR in kinds


def message_types(data: bytes) -> Iterator[int]:
    """The types of the netlink messages in a datagram, as far as it is whole."""
    position = 0
    while len(data) - position >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data, position)
        if length < _HEADER.size:
            return
        yield kind
        position += (length + _ALIGNMENT - 1) & -_ALIGNMENT
