"""The kernel's notifications about links, addresses, routes and rules: the socket of its multicast groups
(rtnetlink(7)).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

REOPEN_SECONDS = 1.0
"""Pause before a failed socket is opened again."""
_RECEIVE_BYTES = 1 << 16


@contextmanager
def listening(groups: int) -> Iterator[socket.socket]:
    """A socket that receives these multicast groups, a bit each (linux/rtnetlink.h). Raises OSError."""
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    ) as heard:
        heard.bind((0, groups))
        yield heard


async def receive(heard: socket.socket) -> bytes | None:
    """The next datagram; None after a buffer overflow: the lost ones may have reported anything.

    Raises:
        OSError: the socket is not usable any more.
    """
    try:
        return await asyncio.get_running_loop().sock_recv(heard, _RECEIVE_BYTES)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return None
