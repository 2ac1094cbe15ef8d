"""Tables that map dataclasses to go-msgpack, and the code that interprets them.

A message is a map keyed by Go field names (gossip-wire section 3). Reading: keys in any order, unknown ones ignored,
missing or nil ones zero, exact bounds for integers. Writing: keys in byte order, the old msgpack specification (no
bin, no str8), shortest unsigned integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Generic, TypeVar

from wgmesh_agent.gossip.errors import DecodeError, GossipError
from wgmesh_agent.gossip.wire.packing import pack, unpack_first

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One wire type: `decode` converts from msgpack's value (None if absent), `encode` to it."""

    decode: Callable[[Any], T]
    encode: Callable[[T], Any]


def _integer(low: int, high: int) -> Kind[int]:
    def decode(value: Any) -> int:
        # type(), not isinstance(): a bool is an int in Python and an error in Go.
        if type(value) is int and low <= value <= high:
            return value
        if value is None:
            return 0
        raise DecodeError(f"wants an integer in {low}..{high}, got {_describe(value)}")

    def encode(value: int) -> int:
        if not low <= value <= high:
            raise GossipError(f"{value} is outside {low}..{high}")
        return int(value)

    return Kind(decode, encode)


def _describe(value: Any) -> str:
    return str(value) if type(value) in (int, float, bool) else type(value).__name__


def _decode_bytes(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    if value is None:
        return b""
    if type(value) is list and all(type(item) is int and 0 <= item <= 255 for item in value):
        return bytes(value)
    raise DecodeError(f"wants bytes, got {_describe(value)}")


def _encode_bytes(value: bytes) -> bytes | None:
    return bytes(value) or None


def _encode_bytes_not_nil(value: bytes) -> bytes:
    return bytes(value)


def _decode_text(value: Any) -> str:
    if type(value) is bytes:
        return value.decode("utf-8", "surrogateescape")
    if value is None:
        return ""
    raise DecodeError(f"wants a string, got {_describe(value)}")


def encode_text(value: str) -> bytes:
    """Returns the bytes of a name as received; GossipError for surrogates that no bytes decode to."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise GossipError(f"a string cannot be written as UTF-8: {error.reason}") from error


def _decode_bool(value: Any) -> bool:
    if value is True or value is False:
        return value
    if value is None:
        return False
    if type(value) is int and value in (0, 1):
        return value == 1
    raise DecodeError(f"wants a bool, got {_describe(value)}")


def _encode_bool(value: bool) -> bool:
    return bool(value)


def _decode_float(value: Any) -> float:
    if type(value) is float:
        return value
    if value is None:
        return 0.0
    if type(value) is int:
        return float(value)
    raise DecodeError(f"wants a float, got {_describe(value)}")


def _encode_float(value: float) -> float:
    return float(value)


U8: Final = _integer(0, 2**8 - 1)
U16: Final = _integer(0, 2**16 - 1)
U32: Final = _integer(0, 2**32 - 1)
U64: Final = _integer(0, 2**64 - 1)
I64: Final = _integer(-(2**63), 2**63 - 1)
BOOL: Final = Kind(_decode_bool, _encode_bool)
FLOAT: Final = Kind(_decode_float, _encode_float)
TEXT: Final = Kind(_decode_text, encode_text)
BYTES: Final = Kind(_decode_bytes, _encode_bytes)
"""[]byte that Go leaves nil when empty: empty is written as nil."""
BYTES_NOT_NIL: Final = Kind(_decode_bytes, _encode_bytes_not_nil)
"""[]byte that Go allocates even when empty: empty is written as an empty raw."""


def tuple_of(kind: Kind[T], *, nil_if_empty: bool = False) -> Kind[tuple[T, ...]]:
    """A Go slice."""
    decode_item, encode_item = kind.decode, kind.encode

    def decode(value: Any) -> tuple[T, ...]:
        if type(value) is list:
            return tuple([decode_item(item) for item in value])
        if value is None:
            return ()
        raise DecodeError(f"wants an array, got {_describe(value)}")

    def encode(items: tuple[T, ...]) -> Any:
        return None if nil_if_empty and not items else [encode_item(item) for item in items]

    return Kind(decode, encode)


def text_map(kind: Kind[T]) -> Kind[Mapping[str, T]]:
    """A Go map with string keys, written in the order of the mapping."""
    decode_item, encode_item = kind.decode, kind.encode

    def decode(value: Any) -> Mapping[str, T]:
        if type(value) is dict:
            return {_decode_text(key): decode_item(item) for key, item in value.items()}
        if value is None:
            return {}
        raise DecodeError(f"wants a map, got {_describe(value)}")

    def encode(mapping: Mapping[str, T]) -> Any:
        return {encode_text(key): encode_item(item) for key, item in mapping.items()}

    return Kind(decode, encode)


@dataclass(frozen=True, slots=True)
class Field:
    """Attribute of a dataclass, its Go name, its kind; `omit_empty` leaves zero values off the wire."""

    attribute: str
    key: str
    kind: Kind[Any]
    omit_empty: bool = False


class Struct(Generic[T]):
    """The wire layout of one dataclass: all its attributes, in its own order."""

    def __init__(self, cls: type[T], *layout: Field) -> None:
        declared = tuple(field.name for field in fields(cls))  # type: ignore[arg-type]
        if declared != tuple(field.attribute for field in layout):
            raise GossipError(f"the layout of {cls.__name__} is not its attributes {declared}")
        self._cls = cls
        self._decoders = tuple((field.key.encode(), field.kind.decode) for field in layout)
        self._encoders = tuple(
            (field.key.encode(), field.attribute, field.kind.encode, field.omit_empty)
            for field in sorted(layout, key=lambda field: field.key.encode())
        )

    def from_wire(self, value: Any) -> T:
        """Returns the dataclass for an unpacked map (nil counts as an empty one). Raises DecodeError."""
        if type(value) is not dict:
            if value is not None:
                raise DecodeError(f"{self._cls.__name__} wants a map, got {_describe(value)}")
            value = {}
        get = value.get
        try:
            return self._cls(*[decode(get(key)) for key, decode in self._decoders])
        except DecodeError as error:
            raise self._located(value, error) from error

    def _located(self, value: dict[Any, Any], error: DecodeError) -> DecodeError:
        for key, decode in self._decoders:
            try:
                decode(value.get(key))
            except DecodeError:
                return DecodeError(f"{self._cls.__name__}.{key.decode()} {error}")
        return error

    def to_wire(self, message: T) -> dict[bytes, Any]:
        """Returns the map to pack, keys in byte order. Raises GossipError for values out of bounds."""
        wire: dict[bytes, Any] = {}
        for key, attribute, encode, omit_empty in self._encoders:
            value = getattr(message, attribute)
            if omit_empty and not value:
                continue
            try:
                wire[key] = encode(value)
            except GossipError as error:
                raise GossipError(f"{self._cls.__name__}.{attribute}: {error}") from error
        return wire

    def pack(self, message: T) -> bytes:
        """Returns the msgpack bytes of `message`, as Go would write them."""
        return pack(self.to_wire(message))

    def unpack(self, data: bytes) -> T:
        """Returns the dataclass in the first object of `data`; bytes after it are ignored, as in Go."""
        return self.from_wire(unpack_first(data)[0])

    @property
    def kind(self) -> Kind[T]:
        """Returns this layout as the kind of another's field."""
        return Kind(self.from_wire, self.to_wire)

    @property
    def optional_kind(self) -> Kind[T | None]:
        """Returns this layout as a Go pointer: nil is None, not a zero value."""

        def decode(value: Any) -> T | None:
            return None if value is None else self.from_wire(value)

        def encode(message: T | None) -> Any:
            return None if message is None else self.to_wire(message)

        return Kind(decode, encode)
