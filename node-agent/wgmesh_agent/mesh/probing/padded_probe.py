"""Padded probes: whether a packet of a certain size passes the tunnel. The answer is small, whatever the probe's size.

Sent continuously by `probing.path_mtu`, and by `wgmesh doctor` when it runs, on the port of the liveness probes.
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
    """The payload of an IP packet of this many bytes; `number` has 32 bits."""
    asked = _PROBE.pack(_MAGIC, _ASK, number, packet_bytes)
    return asked.ljust(packet_bytes - HEADERS_BYTES[version], b"\0")


def encode_reply(payload: bytes, version: int) -> bytes | None:
    """The answer to a complete padded probe; None for any other datagram."""
    found = _read(payload)
    if found is None or found[0] != _ASK or len(payload) != found[2] - HEADERS_BYTES[version]:
        return None
    return _PROBE.pack(_MAGIC, _ANSWER, *found[1:])


def decode_reply(payload: bytes) -> tuple[int, int] | None:
    """The number and packet size of the probe that this answers; None for any other datagram."""
    found = _read(payload)
    return found[1:] if found is not None and found[0] == _ANSWER and len(payload) == _PROBE.size else None


def _read(payload: bytes) -> tuple[int, int, int] | None:
    if len(payload) < _PROBE.size:
        return None
    magic, kind, number, size = _PROBE.unpack_from(payload)
    return (kind, number, size) if magic == _MAGIC else None
