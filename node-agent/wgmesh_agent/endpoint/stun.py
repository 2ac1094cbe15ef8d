"""This node's address as a STUN server sees it.

pystun3 speaks RFC 3489 over IPv4, blocks, walks answers without bounds and fails with KeyError or ValueError on what it
does not know. It therefore runs in a thread, on a socket that lets only whole answers of the asked server through and
that ends at a deadline; and what it says is judged before anyone uses it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from ipaddress import IPv4Address, ip_address

from wgmesh_agent.wireguard.model import Endpoint

ANSWER_SECONDS = 1.0
TOTAL_SECONDS = 5.0
_HEADER_BYTES = 20
_ATTRIBUTE_HEADER_BYTES = 4
_BINDING_RESPONSE = 0x0101


class StunError(Exception):
    """The STUN server gave no usable answer; says which server and why."""


class _DeadlineOver(Exception):
    """Ends pystun3's loops, which catch socket errors and go on."""


class _GuardedSocket:
    """What pystun3 gets for a socket: bounded in time, deaf to anything but whole answers from the server."""

    def __init__(self, sock: socket.socket, server: tuple[str, int], deadline: float) -> None:
        self._sock = sock
        self._server = server
        self._deadline = deadline

    def sendto(self, data: bytes, _address: tuple[str, int]) -> None:
        if time.monotonic() >= self._deadline:
            raise _DeadlineOver
        self._sock.sendto(data, self._server)

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        until = min(self._deadline, time.monotonic() + ANSWER_SECONDS)
        while (left := until - time.monotonic()) > 0:
            self._sock.settimeout(left)
            data, address = self._sock.recvfrom(size)
            if address == self._server and is_whole_answer(data):
                return data, address
        raise TimeoutError


def is_whole_answer(data: bytes) -> bool:
    """Whether this is a binding response whose attributes end exactly where its header says (RFC 3489 §11)."""
    if len(data) < _HEADER_BYTES or int.from_bytes(data[:2], "big") != _BINDING_RESPONSE:
        return False
    if len(data) != _HEADER_BYTES + int.from_bytes(data[2:4], "big"):
        return False
    position = _HEADER_BYTES
    while position < len(data):
        if len(data) - position < _ATTRIBUTE_HEADER_BYTES:
            return False
        position += _ATTRIBUTE_HEADER_BYTES + int.from_bytes(data[position + 2 : position + 4], "big")
    return position == len(data)


async def ask(host: str, port: int, local_port: int) -> Endpoint:
    """The endpoint under which the server saw a packet from `local_port`.

    If that port is taken (by a running WireGuard), another is used and the answer's port is `local_port`: the
    address is what the server saw, the port what a port-preserving NAT makes of it.

    Raises:
        StunError: the name does not resolve, no answer, or none that makes sense.
    """
    try:
        return await asyncio.to_thread(_ask, host, port, local_port)
    except OSError as error:
        raise StunError(f"cannot ask the STUN server {host}:{port}: {error.strerror or error}") from error


def _ask(host: str, port: int, local_port: int) -> Endpoint:
    import stun

    server = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_DGRAM)[0][4]
    address = (str(server[0]), int(server[1]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        mapped_port_counts = _bind(sock, local_port)
        guarded = _GuardedSocket(sock, address, time.monotonic() + TOTAL_SECONDS)
        stun._initialize()  # type: ignore[no-untyped-call]
        try:
            answer = stun.stun_test(guarded, *address, "", local_port)  # type: ignore[no-untyped-call]
        except (_DeadlineOver, KeyError, ValueError, IndexError) as error:
            raise StunError(f"the STUN server {host}:{port} gave no answer that makes sense") from error
    if not answer["Resp"] or not answer["ExternalIP"]:
        raise StunError(f"the STUN server {host}:{port} does not answer")
    seen_port = int(answer["ExternalPort"] or 0) if mapped_port_counts else local_port
    return judge(host, str(answer["ExternalIP"]), seen_port)


def _bind(sock: socket.socket, local_port: int) -> bool:
    try:
        sock.bind(("", local_port))
    except OSError:
        sock.bind(("", 0))
        return False
    return True


def judge(server: str, address: str, port: int) -> Endpoint:
    """The answer as an endpoint.

    Raises:
        StunError: nobody could be reached there.
    """
    try:
        seen = ip_address(address)
    except ValueError as error:
        raise StunError(f"the STUN server {server} says {address!r:.40}, which is no address") from error
    if not isinstance(seen, IPv4Address) or seen.is_unspecified or seen.is_loopback or seen.is_multicast:
        raise StunError(f"the STUN server {server} says {seen}, where nobody can be reached")
    if not 0 < port < 65536:
        raise StunError(f"the STUN server {server} says port {port}")
    return Endpoint(seen, port)
