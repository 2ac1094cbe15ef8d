"""msgpack within bounds: the only module that calls the library.

The library's limits are too wide for untrusted bytes: an array's memory is allocated by its claimed length, an empty
map takes 64 times its one byte. Map keys must be raw or bin, as Go requires for a struct; that also prevents crafted
integer-hash collisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgpack

from wgmesh_agent.gossip.errors import DecodeError, LimitError

_msgpack: Final[Any] = msgpack  # untyped library
_READ_BYTES: Final = 1 << 14
"""Initial buffer of an unpacker; the default is a megabyte."""
_UNPACK_ERRORS: Final = (ValueError, TypeError, msgpack.UnpackException)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one msgpack object: entries of each array and map, total of arrays and maps."""

    array_entries: int
    map_entries: int
    containers: int | None = None


MESSAGE_BOUNDS: Final = Bounds(array_entries=1024, map_entries=1024)
"""For messages so small that their containers need no count: at most a datagram, 64 KiB."""


def pack(value: Any) -> bytes:
    """Encodes msgpack in the old specification (no bin, no str8), map keys in the order given."""
    packed: bytes = _msgpack.packb(value, use_bin_type=False)
    return packed


def unpack_first(data: bytes, bounds: Bounds = MESSAGE_BOUNDS) -> tuple[Any, bytes]:
    """Decodes the first object of `data`, returns it and the bytes after it; raw values are bytes. Raises PeerError."""
    count = None if bounds.containers is None else _Containers(bounds.containers).count
    try:
        value = _msgpack.unpackb(
            data,
            raw=True,
            strict_map_key=True,
            max_array_len=bounds.array_entries,
            max_map_len=bounds.map_entries,
            object_hook=count,
            list_hook=count,
        )
    except msgpack.ExtraData as surplus:
        return surplus.unpacked, bytes(surplus.extra)
    except _UNPACK_ERRORS as error:
        raise DecodeError(f"not msgpack: {error or type(error).__name__}") from error
    return value, b""


class _Containers:
    """Counts the arrays and maps of one object.

    It is not part of the stream: an unpacker would keep the owner of its callback, with its buffers, until cycles
    are collected.
    """

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self.seen = 0

    def count(self, container: Any) -> Any:
        self.seen += 1
        if self.seen > self._allowed:
            raise LimitError(f"more than {self._allowed} arrays and maps in one object")
        return container


class ObjectStream:
    """Objects, then raw bytes, decoded one by one from pieces of a stream without a length."""

    _BOUNDS: Final = Bounds(array_entries=1024, map_entries=1024, containers=16)

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._taken = 0
        self._containers = _Containers(self._BOUNDS.containers or 0)
        self._unpacker: Any = _msgpack.Unpacker(
            raw=True,
            strict_map_key=True,
            read_size=min(_READ_BYTES, max_bytes),
            max_buffer_size=max_bytes,
            max_array_len=self._BOUNDS.array_entries,
            max_map_len=self._BOUNDS.map_entries,
            object_hook=self._containers.count,
            list_hook=self._containers.count,
        )

    def feed(self, data: bytes) -> None:
        """Adds bytes of the stream. Raises LimitError above `max_bytes` in total."""
        if len(self._buffer) + len(data) > self._max_bytes:
            raise LimitError(f"a stream of more than {self._max_bytes} bytes")
        self._buffer += data
        self._unpacker.feed(data)

    def next_object(self) -> tuple[bool, Any]:
        """Returns (True, the next object), or (False, None) when more bytes are needed. Raises PeerError."""
        try:
            value = self._unpacker.unpack()
        except msgpack.OutOfData:
            return False, None
        except _UNPACK_ERRORS as error:
            raise DecodeError(f"not msgpack: {error or type(error).__name__}") from error
        self._containers.seen = 0
        self._taken = self._unpacker.tell()
        return True, value

    def next_bytes(self, count: int) -> bytes | None:
        """Returns the next `count` bytes unchanged, or None when more are needed. No object can follow them."""
        if len(self._buffer) - self._taken < count:
            return None
        return bytes(self._buffer[self._taken : self._taken + count])
