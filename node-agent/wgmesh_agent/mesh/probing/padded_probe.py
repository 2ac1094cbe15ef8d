"""Padded probes: whether a packet of a certain size passes the tunnel. What comes back is small, however large it was.

`probing.path_mtu` asks with them all the time, and `wgmesh doctor` when it is run, on the port of the other probes.
"""

from __future__ import annotations

import struct

_PROBE = struct.Struct("!4sBIH")
_MAGIC = b"wgm1"
_ASK, _ANSWER = 1, 2
HEADERS_BYTES = {4: 20 + 8, 6: 40 + 8}
"""IP and UDP headers by the mesh's IP version."""
SMALL_BYTES = 100


def encode_probe(number: int, packet_bytes: int, version: int) -> bytes:
    """The payload that makes an IP packet of so many bytes; `number` is 32 bit."""
    asked = _PROBE.pack(_MAGIC, _ASK, number, packet_bytes)
    return asked.ljust(packet_bytes - HEADERS_BYTES[version], b"\0")


def encode_reply(payload: bytes, version: int) -> bytes | None:
    """What to send back to a question that came whole; None to anything else."""
    found = _read(payload)
    if found is None or found[0] != _ASK or len(payload) != found[2] - HEADERS_BYTES[version]:
        return None
    return _PROBE.pack(_MAGIC, _ANSWER, *found[1:])


def decode_reply(payload: bytes) -> tuple[int, int] | None:
    """The number and packet size of the question that this answers; None for anything else."""
    found = _read(payload)
    return found[1:] if found is not None and found[0] == _ANSWER and len(payload) == _PROBE.size else None


def _read(payload: bytes) -> tuple[int, int, int] | None:
    if len(payload) < _PROBE.size:
        return None
    magic, kind, number, size = _PROBE.unpack_from(payload)
    return (kind, number, size) if magic == _MAGIC else None
