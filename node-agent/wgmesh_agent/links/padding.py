"""Padded probes: whether a packet of a certain size passes the tunnel. What comes back is small, however large it was.

Asked by `wgmesh doctor` only, on the port of the other probes, which take no notice of these.
"""

from __future__ import annotations

import struct

_PADDED = struct.Struct("!4sBIH")
_MAGIC = b"wgd1"
_ASK, _ANSWER = 0, 1
HEADERS_BYTES = {4: 20 + 8, 6: 40 + 8}
"""IP and UDP headers by the mesh's IP version."""
SMALL_BYTES = 100


def question(nonce: int, packet_bytes: int, version: int) -> bytes:
    """The payload that makes an IP packet of so many bytes; `nonce` is 32 bit."""
    size = max(_PADDED.size, packet_bytes - HEADERS_BYTES[version])
    return _PADDED.pack(_MAGIC, _ASK, nonce, size).ljust(size, b"\0")


def answer(payload: bytes) -> bytes | None:
    """What to send back to a question that came whole; None to anything else."""
    found = _read(payload)
    if found is None or found[0] != _ASK or found[2] != len(payload):
        return None
    return _PADDED.pack(_MAGIC, _ANSWER, found[1], found[2])


def answered(payload: bytes) -> int | None:
    """The nonce of the question that this answers; None for anything else."""
    found = _read(payload)
    return found[1] if found is not None and found[0] == _ANSWER and len(payload) == _PADDED.size else None


def _read(payload: bytes) -> tuple[int, int, int] | None:
    if len(payload) < _PADDED.size:
        return None
    magic, kind, nonce, size = _PADDED.unpack_from(payload)
    return (kind, nonce, size) if magic == _MAGIC else None
