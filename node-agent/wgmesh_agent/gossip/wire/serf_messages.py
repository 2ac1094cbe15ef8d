"""serf's messages and their bytes: one serf type byte, then a msgpack body (gossip-wire section 8).

The bytes here are the payload of a memberlist user message (without its leading 08), the user state of a
push-pull, or the payload of a query or response.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from wgmesh_agent.gossip.errors import DecodeError, GossipError, LimitError
from wgmesh_agent.gossip.wire.filters import NodeFilter, TagFilter, decode_filter, encode_filter
from wgmesh_agent.gossip.wire.packing import pack, unpack_first
from wgmesh_agent.gossip.wire.schema import (
    BOOL,
    BYTES,
    BYTES_NOT_NIL,
    I64,
    TEXT,
    U8,
    U16,
    U32,
    U64,
    Field,
    Kind,
    Struct,
    text_map,
    tuple_of,
)
from wgmesh_agent.gossip.wire.serf_model import (
    ConflictMember,
    ConflictResponse,
    JoinIntent,
    KeyRequest,
    KeyResponse,
    LeaveIntent,
    MemberStatus,
    Query,
    QueryResponse,
    Relay,
    SerfMessage,
    SerfMessageType,
    UserEvent,
)
from wgmesh_agent.gossip.wire.serf_push_pull import (
    EventSlot,
    SerfPushPull,
    decode_push_pull,
    encode_push_pull,
)
from wgmesh_agent.gossip.wire.tags import decode_tags, encode_tags

__all__ = [
    "ConflictMember",
    "ConflictResponse",
    "EventSlot",
    "JoinIntent",
    "KeyRequest",
    "KeyResponse",
    "LeaveIntent",
    "MemberStatus",
    "NodeFilter",
    "Query",
    "QueryResponse",
    "Relay",
    "SerfMessage",
    "SerfMessageType",
    "SerfPushPull",
    "TagFilter",
    "UserEvent",
    "decode_filter",
    "decode_serf",
    "decode_tags",
    "encode_filter",
    "encode_serf",
    "encode_tags",
]

MAX_SERF_MESSAGE_BYTES: Final = 64 * 1024
"""Maximum of one serf message except a push-pull. Go keeps events under 9216 bytes, queries and responses under
1024."""


@dataclass(frozen=True, slots=True)
class _UdpAddress:
    ip: bytes
    port: int
    zone: str


@dataclass(frozen=True, slots=True)
class _RelayHeader:
    dest_addr: _UdpAddress
    dest_name: str


def _decode_status(value: Any) -> MemberStatus:
    number = I64.decode(value)
    try:
        return MemberStatus(number)
    except ValueError:
        raise DecodeError(f"wants a member status in 0..4, got {number}") from None


_LTIME: Final = Field("ltime", "LTime", U64)
_NODE: Final = Field("node", "Node", TEXT)
_NAME: Final = Field("name", "Name", TEXT)
_PAYLOAD: Final = Field("payload", "Payload", BYTES)
_ID: Final = Field("id", "ID", U32)
_FLAGS: Final = Field("flags", "Flags", U32)
_CONFLICT_MEMBER: Final = Struct(
    ConflictMember,
    _NAME,
    Field("addr", "Addr", BYTES),
    Field("port", "Port", U16),
    Field("tags", "Tags", text_map(TEXT)),
    Field("status", "Status", Kind(_decode_status, int)),
    Field("protocol_min", "ProtocolMin", U8),
    Field("protocol_max", "ProtocolMax", U8),
    Field("protocol_cur", "ProtocolCur", U8),
    Field("delegate_min", "DelegateMin", U8),
    Field("delegate_max", "DelegateMax", U8),
    Field("delegate_cur", "DelegateCur", U8),
)
_RELAY_HEADER: Final = Struct(
    _RelayHeader,
    Field(
        "dest_addr",
        "DestAddr",
        Struct(
            _UdpAddress, Field("ip", "IP", BYTES), Field("port", "Port", U16), Field("zone", "Zone", TEXT)
        ).kind,
    ),
    Field("dest_name", "DestName", TEXT),
)

LAYOUTS: Final[dict[SerfMessageType, tuple[type, Struct[Any]]]] = {
    SerfMessageType.LEAVE: (
        LeaveIntent,
        Struct(LeaveIntent, _LTIME, _NODE, Field("prune", "Prune", BOOL)),
    ),
    SerfMessageType.JOIN: (JoinIntent, Struct(JoinIntent, _LTIME, _NODE)),
    SerfMessageType.USER_EVENT: (
        UserEvent,
        Struct(UserEvent, _LTIME, _NAME, _PAYLOAD, Field("coalesce", "CC", BOOL)),
    ),
    SerfMessageType.QUERY: (
        Query,
        Struct(
            Query,
            _LTIME,
            _ID,
            Field("addr", "Addr", BYTES),
            Field("port", "Port", U16),
            Field("source_node", "SourceNode", TEXT),
            Field("filters", "Filters", tuple_of(BYTES_NOT_NIL, nil_if_empty=True)),
            _FLAGS,
            Field("relay_factor", "RelayFactor", U8),
            Field("timeout_ns", "Timeout", I64),
            _NAME,
            _PAYLOAD,
        ),
    ),
    SerfMessageType.QUERY_RESPONSE: (
        QueryResponse,
        Struct(QueryResponse, _LTIME, _ID, Field("from_node", "From", TEXT), _FLAGS, _PAYLOAD),
    ),
    SerfMessageType.KEY_REQUEST: (KeyRequest, Struct(KeyRequest, Field("key", "Key", BYTES_NOT_NIL))),
    SerfMessageType.KEY_RESPONSE: (
        KeyResponse,
        Struct(
            KeyResponse,
            Field("result", "Result", BOOL),
            Field("message", "Message", TEXT),
            Field("keys", "Keys", tuple_of(TEXT, nil_if_empty=True)),
            Field("primary_key", "PrimaryKey", TEXT),
        ),
    ),
}
"""Bodies that are one msgpack map; push-pull, conflict response and relay have their own form."""

_ENCODERS: Final = {cls: (bytes((kind,)), layout) for kind, (cls, layout) in LAYOUTS.items()}
_DECODERS: Final = {int(kind): layout for kind, (_, layout) in LAYOUTS.items()}


def encode_serf(message: SerfMessage) -> bytes:
    """Encodes serf type byte and body, as Go does. Raises GossipError for values out of bounds."""
    match message:
        case SerfPushPull():
            return bytes((SerfMessageType.PUSH_PULL,)) + encode_push_pull(message)
        case ConflictResponse(member):
            body = pack(_CONFLICT_MEMBER.optional_kind.encode(member))
            return bytes((SerfMessageType.CONFLICT_RESPONSE,)) + body
        case Relay():
            return bytes((SerfMessageType.RELAY,)) + _encode_relay(message)
    try:
        prefix, layout = _ENCODERS[type(message)]
    except KeyError:
        raise GossipError(f"{type(message).__name__} is not a serf message") from None
    return prefix + layout.pack(message)


def decode_serf(data: bytes) -> SerfMessage:
    """Decodes the message in `data` (serf type byte and body). Raises PeerError."""
    if not data:
        raise DecodeError("a serf message of no bytes")
    kind = data[0]
    if kind == SerfMessageType.PUSH_PULL:
        return decode_push_pull(data[1:])
    if len(data) > MAX_SERF_MESSAGE_BYTES:
        raise LimitError(f"a serf message of {len(data)} bytes; at most {MAX_SERF_MESSAGE_BYTES} are read")
    layout = _DECODERS.get(kind)
    if layout is not None:
        message: SerfMessage = layout.unpack(data[1:])
        return message
    if kind == SerfMessageType.CONFLICT_RESPONSE:
        return ConflictResponse(_CONFLICT_MEMBER.optional_kind.decode(unpack_first(data[1:])[0]))
    if kind == SerfMessageType.RELAY:
        return _decode_relay(data[1:])
    raise DecodeError(f"serf message type {kind} is unknown")


def _encode_relay(message: Relay) -> bytes:
    if not message.inner:
        raise GossipError("a relay without a message to hand on")
    address = _UdpAddress(message.dest_addr, message.dest_port, message.dest_zone)
    return _RELAY_HEADER.pack(_RelayHeader(address, message.dest_name)) + message.inner


def _decode_relay(body: bytes) -> Relay:
    value, inner = unpack_first(body)
    header = _RELAY_HEADER.from_wire(value)
    if not inner:
        raise DecodeError("a relay without a message to hand on")
    address = header.dest_addr
    return Relay(address.ip, address.port, address.zone, header.dest_name, inner)
