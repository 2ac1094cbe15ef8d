"""memberlist's messages and their bytes: one type byte, then a msgpack body (gossip-wire sections 2.5, 3.1).

Names are text in Go but may contain any bytes; they are decoded as UTF-8 with surrogateescape, so each one
round-trips. Addresses stay the received bytes (4 or 16): Go compares them byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final

from wgmesh_agent.gossip.errors import DecodeError, GossipError
from wgmesh_agent.gossip.wire import push_pull
from wgmesh_agent.gossip.wire.node_state import NodeState, NodeStateKind, PackedPushPull, PushPull
from wgmesh_agent.gossip.wire.schema import BOOL, BYTES, TEXT, U16, U32, Field, Struct
from wgmesh_agent.runtime.caches import forgotten_between_bursts

__all__ = [
    "Ack",
    "Alive",
    "Dead",
    "IndirectPing",
    "Message",
    "MessageType",
    "Nack",
    "NodeState",
    "NodeStateKind",
    "PackedPushPull",
    "Ping",
    "PushPull",
    "StreamError",
    "Suspect",
    "UserMessage",
    "decode",
    "encode",
]


class MessageType(IntEnum):
    """First byte of a message or of a layer around it."""

    PING = 0
    INDIRECT_PING = 1
    ACK = 2
    SUSPECT = 3
    ALIVE = 4
    DEAD = 5
    PUSH_PULL = 6
    COMPOUND = 7
    USER = 8
    COMPRESS = 9
    ENCRYPT = 10
    NACK = 11
    CRC = 12
    ERROR = 13
    LABEL = 244


@dataclass(frozen=True, slots=True)
class Ping:
    """Probe of `node`; the ACK goes to source_addr:source_port if given, else to the datagram's source."""

    seq_no: int
    node: str
    source_addr: bytes = b""
    source_port: int = 0
    source_node: str = ""


@dataclass(frozen=True, slots=True)
class IndirectPing:
    """Request to probe `node` at target:port on the sender's behalf, and to report (`nack`) when it does not answer."""

    seq_no: int
    target: bytes
    port: int
    node: str
    nack: bool = False
    source_addr: bytes = b""
    source_port: int = 0
    source_node: str = ""


@dataclass(frozen=True, slots=True)
class Ack:
    """Answer to a ping; `payload` is serf's coordinate or empty."""

    seq_no: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Nack:
    """The target of an indirect ping did not answer in time."""

    seq_no: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """`from_node` could not reach `node`."""

    incarnation: int
    node: str
    from_node: str


@dataclass(frozen=True, slots=True)
class Alive:
    """`node` is at addr:port; `vsn` is its six-byte version vector (section 5), `meta` its tags."""

    incarnation: int
    node: str
    addr: bytes
    port: int
    meta: bytes
    vsn: bytes


@dataclass(frozen=True, slots=True)
class Dead:
    """`node` is dead or left: left if `from_node` is the node itself, failed otherwise."""

    incarnation: int
    node: str
    from_node: str


@dataclass(frozen=True, slots=True)
class UserMessage:
    """One serf message (type byte and body) in memberlist's envelope."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class StreamError:
    """Error of a peer about this node's stream envelope, before it closes."""

    error: str


Message = (
    Ping
    | IndirectPing
    | Ack
    | Nack
    | Suspect
    | Alive
    | Dead
    | PushPull
    | PackedPushPull
    | UserMessage
    | StreamError
)

_SOURCE: Final = (
    Field("source_addr", "SourceAddr", BYTES, omit_empty=True),
    Field("source_port", "SourcePort", U16, omit_empty=True),
    Field("source_node", "SourceNode", TEXT, omit_empty=True),
)
_SEQ_NO: Final = Field("seq_no", "SeqNo", U32)
_ACCUSATION: Final = (
    Field("incarnation", "Incarnation", U32),
    Field("node", "Node", TEXT),
    Field("from_node", "From", TEXT),
)

LAYOUTS: Final[dict[MessageType, Struct[Any]]] = {
    MessageType.PING: Struct(Ping, _SEQ_NO, Field("node", "Node", TEXT), *_SOURCE),
    MessageType.INDIRECT_PING: Struct(
        IndirectPing,
        _SEQ_NO,
        Field("target", "Target", BYTES),
        Field("port", "Port", U16),
        Field("node", "Node", TEXT),
        Field("nack", "Nack", BOOL),
        *_SOURCE,
    ),
    MessageType.ACK: Struct(Ack, _SEQ_NO, Field("payload", "Payload", BYTES)),
    MessageType.NACK: Struct(Nack, _SEQ_NO),
    MessageType.SUSPECT: Struct(Suspect, *_ACCUSATION),
    MessageType.ALIVE: Struct(
        Alive,
        Field("incarnation", "Incarnation", U32),
        Field("node", "Node", TEXT),
        Field("addr", "Addr", BYTES),
        Field("port", "Port", U16),
        Field("meta", "Meta", BYTES),
        Field("vsn", "Vsn", BYTES),
    ),
    MessageType.DEAD: Struct(Dead, *_ACCUSATION),
    MessageType.ERROR: Struct(StreamError, Field("error", "Error", TEXT)),
}
"""Bodies that are one msgpack map; push-pull and user messages have their own form."""

_BY_CLASS: Final = {
    Ping: MessageType.PING,
    IndirectPing: MessageType.INDIRECT_PING,
    Ack: MessageType.ACK,
    Nack: MessageType.NACK,
    Suspect: MessageType.SUSPECT,
    Alive: MessageType.ALIVE,
    Dead: MessageType.DEAD,
    StreamError: MessageType.ERROR,
}
_ENCODERS: Final = {
    cls: (bytes((message_type,)), LAYOUTS[message_type]) for cls, message_type in _BY_CLASS.items()
}
_DECODERS: Final = {int(message_type): layout for message_type, layout in LAYOUTS.items()}
_NEWS: Final = frozenset((MessageType.ALIVE, MessageType.SUSPECT, MessageType.DEAD))
"""Gossip delivers the same messages some dozen times: their decoded form is cached for a while."""
_MAX_KEPT_BYTES: Final = 1024
_USER: Final = bytes((MessageType.USER,))
_PUSH_PULL: Final = bytes((MessageType.PUSH_PULL,))


def encode(message: Message) -> bytes:
    """Encodes type byte and body, byte for byte as Go 0.5.x does. Raises GossipError for values out of bounds.

    A user message has its packet form here (no length); for streams see `stream.stream_message`.
    """
    if isinstance(message, UserMessage):
        return _USER + message.payload
    if isinstance(message, PushPull):
        return _PUSH_PULL + push_pull.encode_body(message)
    if isinstance(message, PackedPushPull):
        return _PUSH_PULL + push_pull.encode_packed(message)
    try:
        prefix, layout = _ENCODERS[type(message)]
    except KeyError:
        raise GossipError(f"{type(message).__name__} is not a memberlist message") from None
    return prefix + layout.pack(message)


def decode(data: bytes) -> Message:
    """Decodes the message in `data` (type byte and body; bytes after the body are ignored). Raises PeerError."""
    if not data:
        raise DecodeError("a message of no bytes")
    if data[0] in _NEWS and len(data) <= _MAX_KEPT_BYTES:
        return _decode_news(data)
    return _decode(data)


@forgotten_between_bursts
@lru_cache(maxsize=256)
def _decode_news(data: bytes) -> Message:
    return _decode(data)


def _decode(data: bytes) -> Message:
    layout = _DECODERS.get(data[0])
    if layout is not None:
        message: Message = layout.unpack(data[1:])
        return message
    if data[0] == MessageType.USER:
        return UserMessage(data[1:])
    if data[0] == MessageType.PUSH_PULL:
        return push_pull.decode_body(data[1:])
    raise DecodeError(f"message type {data[0]} has no place here")
