"""This node's public address, as observed by a STUN server.

pystun3 implements RFC 3489 over IPv4, blocks, parses responses without bounds and fails with KeyError or ValueError on
anything it does not know. It therefore runs in a thread, on a socket that has a deadline and translates: requests get
the magic cookie of RFC 5389, without which newer servers do not respond, and which older ones treat as part of the
transaction id; only complete responses of the queried server pass, reduced to the one attribute that pystun3 reads. The
result is validated before it is used.
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
_HEADER = struct.Struct("!HH16s")  # type, length of the rest, transaction id
_ATTRIBUTE = struct.Struct("!HH")  # type, length of the value, which is padded to four bytes
_ADDRESS = struct.Struct("!xBHI")  # family, port, IPv4 address
_BINDING_RESPONSE = 0x0101
_MAPPED_ADDRESS, _XOR_MAPPED_ADDRESS = 0x0001, 0x0020
_IPV4 = 1
_COOKIE = 0x2112A442
_COOKIE_BYTES = _COOKIE.to_bytes(4, "big")


class StunError(Exception):
    """The STUN server gave no usable response; names the server and the reason."""


class _DeadlineOver(Exception):
    """Ends pystun3's loops, which catch socket errors and retry."""


class _GuardedSocket:
    """The socket for pystun3: with a deadline, and receiving only complete responses from the server."""

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
    """An RFC 3489 request as one of RFC 5389: its transaction id starts with the magic cookie (section 6)."""
    return request[:4] + _COOKIE_BYTES + request[8:]


def plain_answer(data: bytes, request: bytes) -> bytes | None:
    """The response to `request` as an RFC 3489 client expects it, with a MAPPED-ADDRESS if it contains an address.

    None unless it is a complete binding response to that request sent `with_cookie`. XOR-MAPPED-ADDRESS (RFC 5389
    section 15.2) takes precedence over MAPPED-ADDRESS, which some NATs rewrite.
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
    """Raises ValueError if the attributes do not end where the body does."""
    position = 0
    while position < len(body):
        if len(body) - position < _ATTRIBUTE.size:
            raise ValueError("incomplete attribute")
        kind, length = _ATTRIBUTE.unpack_from(body, position)
        position += _ATTRIBUTE.size
        if len(body) - position < length:
            raise ValueError("attribute beyond the end of the body")
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
    """The endpoint under which the server observed a packet from `local_port`.

    If that port is in use (by a running WireGuard), another is used and the port of the result is `local_port`: the
    address is the observed one, the port that of a port-preserving NAT.

    Raises:
        StunError: the name does not resolve, or there is no response, or a malformed one.
    """
    try:
        return await asyncio.to_thread(_ask, host, port, local_port)
    except StunError:
        raise
    except OSError as error:
        raise StunError(f"cannot query the STUN server {host}:{port}: {error.strerror or error}") from error
    except Exception as error:
        # pystun3 raises exceptions of any kind, and so does the resolver for names that it cannot encode.
        raise StunError(f"malformed response of the STUN server {host}:{port}: {error!r}") from error


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
            raise StunError(f"malformed response of the STUN server {host}:{port}") from error
    if not answer["Resp"]:
        raise StunError(f"no valid response of the STUN server {host}:{port}")
    if not answer["ExternalIP"]:
        raise StunError(f"the response of the STUN server {host}:{port} contains no mapped address")
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
    """The response as an endpoint.

    Raises:
        StunError: the address cannot be an endpoint.
    """
    try:
        seen, seen_port = parse_host_port(address, port)
    except UnusableValue as error:
        raise StunError(f"the STUN server {server} reports an unusable endpoint: {error}") from error
    if not isinstance(seen, IPv4Address):
        raise StunError(f"the STUN server {server} reports {seen}, which is not an IPv4 address")
    return Endpoint(seen, seen_port)
