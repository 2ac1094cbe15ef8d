"""Room for datagrams: beyond the machine's limit with the right to it, up to that limit without."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from wgmesh_agent import receive_buffer

LIMIT = int(Path("/proc/sys/net/core/rmem_max").read_text())
SIZE = 2 * LIMIT


class Unprivileged(socket.socket):
    """As a process without CAP_NET_ADMIN has it."""

    def setsockopt(self, level: int, option: int, value: int) -> None:  # type: ignore[override]
        if option != socket.SO_RCVBUF:
            raise PermissionError(1, "Operation not permitted")
        super().setsockopt(level, option, value)


def granted(udp: socket.socket) -> int:
    """What the kernel keeps, its own overhead included: twice what was asked for."""
    with udp:
        receive_buffer.enlarge(udp, SIZE)
        return udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def test_an_agent_s_socket_has_more_room_than_the_machine_gives_to_anybody() -> None:
    expected = SIZE if os.geteuid() == 0 else min(SIZE, LIMIT)
    assert granted(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) == 2 * expected


def test_without_the_right_to_it_a_socket_has_what_the_machine_allows() -> None:
    assert granted(Unprivileged(socket.AF_INET, socket.SOCK_DGRAM)) == 2 * min(SIZE, LIMIT)
