"""Query filters: which members a query is addressed to (gossip-wire section 8.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wgmesh_agent.gossip.errors import DecodeError, GossipError
from wgmesh_agent.gossip.wire.packing import pack, unpack_first
from wgmesh_agent.gossip.wire.schema import TEXT, Field, Struct, tuple_of

_NODE_TYPE: Final = 0
_TAG_TYPE: Final = 1


@dataclass(frozen=True, slots=True)
class NodeFilter:
    """Matches members whose name is listed."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TagFilter:
    """Matches members whose tag (or "" without it) contains a match of the Go regular expression."""

    tag: str
    expr: str


Filter = NodeFilter | TagFilter

_NAMES: Final = tuple_of(TEXT)
_TAG: Final = Struct(TagFilter, Field("tag", "Tag", TEXT), Field("expr", "Expr", TEXT))


def encode_filter(filter_: Filter) -> bytes:
    """Type byte and body of one entry of Query.filters."""
    match filter_:
        case NodeFilter(names):
            return bytes((_NODE_TYPE,)) + pack(_NAMES.encode(names))
        case TagFilter():
            return bytes((_TAG_TYPE,)) + _TAG.pack(filter_)
    raise GossipError(f"{type(filter_).__name__} is not a query filter")


def decode_filter(data: bytes) -> Filter:
    """Decodes the filter in `data`. Raises PeerError, also for an unknown type: such a filter matches no member."""
    if not data:
        raise DecodeError("a query filter of no bytes")
    if data[0] == _NODE_TYPE:
        return NodeFilter(_NAMES.decode(unpack_first(data[1:])[0]))
    if data[0] == _TAG_TYPE:
        return _TAG.unpack(data[1:])
    raise DecodeError(f"query filter type {data[0]} is unknown")
