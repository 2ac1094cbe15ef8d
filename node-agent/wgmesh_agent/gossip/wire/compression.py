"""The compress layer: type 9 around LZW of a message or of a compound (gossip-wire section 2.3)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final

from wgmesh_agent.gossip.errors import DecodeError
from wgmesh_agent.gossip.wire import lzw
from wgmesh_agent.gossip.wire.schema import BYTES, U8, Field, Struct

COMPRESS_TYPE: Final = 9
_ALGORITHM_LZW: Final = 0


@dataclass(frozen=True, slots=True)
class _Compressed:
    algorithm: int
    buffer: bytes


_LAYOUT: Final = Struct(_Compressed, Field("algorithm", "Algo", U8), Field("buffer", "Buf", BYTES))


def compress_layer(data: bytes) -> bytes:
    """Encodes `data` in a compress layer, including the type byte."""
    return bytes((COMPRESS_TYPE,)) + _LAYOUT.pack(_Compressed(_ALGORITHM_LZW, lzw.compress(data)))


def decompress_layer(body: bytes, max_bytes: int) -> bytes:
    """Decodes the layer; `body` comes after its type byte. Raises PeerError."""
    return lzw.decompress(_checked(_LAYOUT.unpack(body)), max_bytes)


def expanding_layer(body: bytes, max_bytes: int) -> Generator[None, None, bytes]:
    """Like decompress_layer, in steps."""
    return lzw.expanding(_checked(_LAYOUT.unpack(body)), max_bytes)


def decompress_object(value: Any, max_bytes: int) -> bytes:
    """Like decompress_layer, for a body that is already unpacked. Raises PeerError."""
    return lzw.decompress(_checked(_LAYOUT.from_wire(value)), max_bytes)


def _checked(layer: _Compressed) -> bytes:
    if layer.algorithm != _ALGORITHM_LZW:
        raise DecodeError(f"compression algorithm {layer.algorithm} is unknown")
    return layer.buffer
