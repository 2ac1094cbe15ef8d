"""This node's address as a STUN server sees it.

pystun3 speaks RFC 3489 over IPv4, blocks, walks answers without bounds and fails with KeyError or ValueError on what
it does not know. It therefore runs in a thread, on a socket that ends at a deadline and translates: requests get the
magic cookie of RFC 5389, without which newer servers keep silent and which older ones take for a part of the
transaction id; of answers, only whole ones of the asked server come through, cut down to the one attribute that
pystun3 reads. And what it says is judged before anyone uses it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.values import UnusableValue, parse_host_port

ANSWER_SECONDS = 1.0
TOTAL_SECONDS = 5.0
_HEADER = struct.Struct("!HH16s")  # type, length of what follows, transaction id
_ATTRIBUTE = struct.Struct("!HH")  # type, length of the value, which is padded to four bytes
_ADDRESS = struct.Struct("!xBHI")  # family, port, IPv4 address
_BINDING_RESPONSE = 0x0101
_MAPPED_ADDRESS, _XOR_MAPPED_ADDRESS = 0x0001, 0x0020
_IPV4 = 1
_COOKIE = 0x2112A442
_COOKIE_BYTES = _COOKIE.to_bytes(4, "big")


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
        self._asked = b""

    def sendto(self, data: bytes, _address: tuple[str, int]) -> None:
        if time.monotonic() >= self._deadline:
            raise _DeadlineOver
        self._asked = data
        self._sock.sendto(with_cookie(data), self._server)

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        until = min(self._deadline, time.monotonic() + ANSWER_SECONDS)
        while (left := until - time.monotonic()) > 0:
            self._sock.settimeout(left)
            data, address = self._sock.recvfrom(size)
            answer = plain_answer(data, self._asked) if address == self._server else None
            if answer is not None:
                return answer, address
        raise TimeoutError


def with_cookie(request: bytes) -> bytes:
    """An RFC 3489 request as one of RFC 5389: its transaction id begins with the magic cookie (section 6)."""
    return request[:4] + _COOKIE_BYTES + request[8:]


def plain_answer(data: bytes, request: bytes) -> bytes | None:
    """The answer to `request` as an RFC 3489 client would have it, with a MAPPED-ADDRESS if it tells an address.

    None unless it is a whole binding response to that request sent `with_cookie`. XOR-MAPPED-ADDRESS (RFC 5389
    section 15.2) goes before MAPPED-ADDRESS, which some NATs rewrite.
    """
    if len(data) < _HEADER.size:
        return None
    kind, length, transaction = _HEADER.unpack_from(data)
    if kind != _BINDING_RESPONSE or transaction != with_cookie(request)[4:20]:
        return None
    if len(data) != _HEADER.size + length:
        return None
    try:
        found = dict(_attributes(data[_HEADER.size :]))
    except ValueError:
        return None
    mapped = _mapped(found)
    body = b"" if mapped is None else _ATTRIBUTE.pack(_MAPPED_ADDRESS, _ADDRESS.size) + mapped
    return _HEADER.pack(_BINDING_RESPONSE, len(body), request[4:20]) + body


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Raises ValueError if they don't end where the body does."""
    position = 0
    while position < len(body):
        if len(body) - position < _ATTRIBUTE.size:
            raise ValueError("half an attribute")
        kind, length = _ATTRIBUTE.unpack_from(body, position)
        position += _ATTRIBUTE.size
        if len(body) - position < length:
            raise ValueError("an attribute past the end")
        yield kind, body[position : position + length]
        position += -(-length // 4) * 4


def _mapped(attributes: dict[int, bytes]) -> bytes | None:
    for kind, port_mask, address_mask in (
        (_XOR_MAPPED_ADDRESS, _COOKIE >> 16, _COOKIE),
        (_MAPPED_ADDRESS, 0, 0),
    ):
        value = attributes.get(kind, b"")
        if len(value) == _ADDRESS.size:
            family, port, address = _ADDRESS.unpack(value)
            if family == _IPV4:
                return _ADDRESS.pack(family, port ^ port_mask, address ^ address_mask)
    return None


async def query_stun(host: str, port: int, local_port: int) -> Endpoint:
    """The endpoint under which the server saw a packet from `local_port`.

    If that port is taken (by a running WireGuard), another is used and the answer's port is `local_port`: the
    address is what the server saw, the port what a port-preserving NAT makes of it.

    Raises:
        StunError: the name does not resolve, no answer, or none that makes sense.
    """
    try:
        return await asyncio.to_thread(_ask, host, port, local_port)
    except StunError:
        raise
    except OSError as error:
        raise StunError(f"cannot ask the STUN server {host}:{port}: {error.strerror or error}") from error
    except Exception as error:
        # pystun3 raises whatever comes, and the resolver does for names that it cannot encode.
        raise StunError(
            f"the STUN server {host}:{port} gave no answer that makes sense: {error!r}"
        ) from error


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
        except _DeadlineOver as error:
            raise StunError(f"the STUN server {host}:{port} gave no answer that makes sense") from error
    if not answer["Resp"]:
        raise StunError(f"the STUN server {host}:{port} does not answer, or not as one does")
    if not answer["ExternalIP"]:
        raise StunError(f"the STUN server {host}:{port} does not say where it saw this node")
    seen_port = int(answer["ExternalPort"] or 0) if mapped_port_counts else local_port
    return validated_endpoint(host, str(answer["ExternalIP"]), seen_port)


def _bind(sock: socket.socket, local_port: int) -> bool:
    try:
        sock.bind(("", local_port))
    except OSError:
        sock.bind(("", 0))
        return False
    return True


def validated_endpoint(server: str, address: str, port: int) -> Endpoint:
    """The answer as an endpoint.

    Raises:
        StunError: nobody could be reached there.
    """
    try:
        seen, seen_port = parse_host_port(address, port)
    except UnusableValue as error:
        raise StunError(
            f"the STUN server {server} reports an endpoint that cannot be used: {error}"
        ) from error
    if not isinstance(seen, IPv4Address):
        raise StunError(f"the STUN server {server} reports {seen}, which is not an IPv4 address")
    return Endpoint(seen, seen_port)
