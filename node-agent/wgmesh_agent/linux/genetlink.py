"""A generic netlink socket for one family: acknowledged requests, and dumps. Blocking; for one thread."""

import os
import socket
import struct
from collections.abc import Callable, Iterator
from itertools import count

from wgmesh_agent.wireguard.errors import BackEndUnavailableError, KernelError
from wgmesh_agent.wireguard.genl import HEADER, attribute, attributes

_MESSAGE = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x01, 0x04, 0x300
_DUMP_INTERRUPTED = 0x10
_CAPPED, _EXTENDED = 0x100, 0x200
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_NETLINK_GENERIC = 16
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 0x10, 3, 1, 2
_ERROR_TEXT = 1
_RECEIVE_BYTES = 65536
_ANSWER_SECONDS = 10.0
_DUMP_ATTEMPTS = 8


def _open() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
    netlink.bind((0, 0))
    for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
        netlink.setsockopt(_SOL_NETLINK, option, 1)
    return netlink


class Genetlink:
    """The socket and the family's number; raises `BackEndUnavailableError` if the kernel has no such
    family.
    """

    def __init__(self, family: str, open_socket: Callable[[], socket.socket] = _open) -> None:
        self._socket = open_socket()
        self._sequence = count(1)
        try:
            self._socket.settimeout(_ANSWER_SECONDS)
            self._family = self._resolve(family)
        except BaseException:
            self._socket.close()
            raise

    def request(self, payload: bytes) -> None:
        """Sends `payload` (generic netlink header and attributes) and waits for its acknowledgement."""
        for _ in self._exchange(self._family, _REQUEST | _ACK, payload):
            pass

    def dump(self, payload: bytes) -> list[bytes]:
        """All payloads of the kernel's response; repeated while the kernel reports changes during the dump."""
        for _ in range(_DUMP_ATTEMPTS):
            self._interrupted = False
            payloads = list(self._exchange(self._family, _REQUEST | _DUMP, payload))
            if not self._interrupted:
                return payloads
        raise KernelError(f"the kernel's response changed while it was read, {_DUMP_ATTEMPTS} times in a row")

    def close(self) -> None:
        """Closes the socket; may be called twice."""
        self._socket.close()

    def _resolve(self, family: str) -> int:
        name = attribute(_FAMILY_NAME, family.encode("ascii") + b"\0")
        try:
            for payload in self._exchange(_CONTROL, _REQUEST | _ACK, HEADER.pack(_GET_FAMILY, 1, 0) + name):
                found = dict(attributes(payload, HEADER.size))
                if _FAMILY_ID in found:
                    return int(struct.unpack("=H", found[_FAMILY_ID])[0])
        except KernelError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise BackEndUnavailableError(
                f"the kernel has no {family} (the module does not exist or is not loaded)"
            ) from error
        raise KernelError(f"the kernel did not report the number of its netlink family {family}")

    def _exchange(self, kind: int, flags: int, payload: bytes) -> Iterator[bytes]:
        sequence = next(self._sequence) & 0xFFFFFFFF
        header = _MESSAGE.pack(_MESSAGE.size + len(payload), kind, flags, sequence, 0)
        try:
            self._socket.send(header + payload)
            while True:
                data, _, received, _ = self._socket.recvmsg(_RECEIVE_BYTES)
                if not data or received & socket.MSG_TRUNC:
                    raise KernelError(f"a netlink message has no bytes, or more than {_RECEIVE_BYTES}")
                for kind, flags, body in _split(data, sequence):
                    if flags & _DUMP_INTERRUPTED:
                        self._interrupted = True
                    if kind in (_ERROR, _DONE):
                        _check(body, flags)
                        return
                    yield body
        except OSError as error:
            raise KernelError(f"netlink failed: {error.strerror or error}") from error


def _split(data: bytes, sequence: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and body of each message that answers `sequence`; leftovers of an earlier exchange are discarded."""
    start = 0
    while start + _MESSAGE.size <= len(data):
        length, kind, flags, number, _ = _MESSAGE.unpack_from(data, start)
        if length < _MESSAGE.size or start + length > len(data):
            raise KernelError("a netlink message is truncated")
        if number == sequence:
            yield kind, flags, data[start + _MESSAGE.size : start + length]
        start += length + 3 & ~3


def _check(body: bytes, flags: int) -> None:
    """Raises `KernelError` if `body` (of an error or done message) contains an error, with the kernel's own message if
    any.
    """
    code = -int(struct.unpack_from("=i", body)[0]) if len(body) >= 4 else 0
    if code == 0:
        return
    # The error number is followed by the header of the request, unless this ends a dump.
    words = ""
    if flags & _EXTENDED:
        start = 4 + _MESSAGE.size if flags & _CAPPED else 4
        words = dict(attributes(body, start)).get(_ERROR_TEXT, b"").rstrip(b"\0").decode("utf-8", "replace")
    reason = os.strerror(code)
    raise KernelError(f"the kernel rejected it: {reason}{f' ({words})' if words else ''}") from OSError(
        code, reason
    )
