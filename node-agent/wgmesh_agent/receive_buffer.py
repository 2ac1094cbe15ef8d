"""Room for the datagrams that arrive while a process gets no processor: what finds none is lost without a word."""

from __future__ import annotations

import socket

_SO_RCVBUFFORCE = 33
"""Linux, socket(7): as SO_RCVBUF, beyond `net.core.rmem_max`; for CAP_NET_ADMIN, which an agent has."""


def enlarge(udp: socket.socket, size: int) -> None:
    """Has the kernel keep up to twice `size` bytes for the socket, its own overhead included, or what it grants."""
    try:
        udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
