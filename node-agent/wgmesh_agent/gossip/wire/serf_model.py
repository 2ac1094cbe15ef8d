"""serf's messages as dataclasses; their encoding is in `serf_messages` (gossip-wire section 8).

LTime is a Lamport time (u64); addresses are the received 4 or 16 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from wgmesh_agent.gossip.wire.serf_push_pull import SerfPushPull


class SerfMessageType(IntEnum):
    """First byte of a serf message."""

    LEAVE = 0
    JOIN = 1
    PUSH_PULL = 2
    USER_EVENT = 3
    QUERY = 4
    QUERY_RESPONSE = 5
    CONFLICT_RESPONSE = 6
    KEY_REQUEST = 7
    KEY_RESPONSE = 8
    RELAY = 9


class MemberStatus(IntEnum):
    """Status of a serf member, with its wire number."""

    NONE = 0
    ALIVE = 1
    LEAVING = 2
    LEFT = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class LeaveIntent:
    """`node` intends to leave, or another node forces it to; `prune` removes it at once."""

    ltime: int
    node: str
    prune: bool = False


@dataclass(frozen=True, slots=True)
class JoinIntent:
    """`node` has joined."""

    ltime: int
    node: str


@dataclass(frozen=True, slots=True)
class UserEvent:
    """An event for every member; `coalesce` lets receivers merge events of one name."""

    ltime: int
    name: str
    payload: bytes = b""
    coalesce: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A query to every member that passes all `filters` (encoded; see `filters`).

    Answers are sent by UDP to addr:port within `timeout_ns` nanoseconds. flags: 1 requests an ACK, 2 forbids
    rebroadcast.
    """

    ltime: int
    id: int
    addr: bytes
    port: int
    source_node: str
    filters: tuple[bytes, ...] = ()
    flags: int = 0
    relay_factor: int = 0
    timeout_ns: int = 0
    name: str = ""
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class QueryResponse:
    """Answer to the query (ltime, id); flags 1 marks the ACK, which has no payload."""

    ltime: int
    id: int
    from_node: str
    flags: int = 0
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class ConflictMember:
    """A member's knowledge of the disputed name."""

    name: str
    addr: bytes
    port: int
    tags: Mapping[str, str] = field(default_factory=dict)
    status: MemberStatus = MemberStatus.NONE
    protocol_min: int = 0
    protocol_max: int = 0
    protocol_cur: int = 0
    delegate_min: int = 0
    delegate_max: int = 0
    delegate_cur: int = 0


@dataclass(frozen=True, slots=True)
class ConflictResponse:
    """Payload of an answer to `_serf_conflict`; None when the name is unknown."""

    member: ConflictMember | None


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """Payload of the key queries; empty for `_serf_list-keys`. The key is excluded from the repr."""

    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class KeyResponse:
    """Payload of an answer to a key query; keys in base64, excluded from the repr."""

    result: bool
    message: str = ""
    keys: tuple[str, ...] = field(default=(), repr=False)
    primary_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Relay:
    """Request to forward `inner`, a serf message with its type byte, to dest_name at dest_addr:dest_port."""

    dest_addr: bytes
    dest_port: int
    dest_zone: str
    dest_name: str
    inner: bytes


SerfMessage = (
    LeaveIntent
    | JoinIntent
    | SerfPushPull
    | UserEvent
    | Query
    | QueryResponse
    | ConflictResponse
    | KeyRequest
    | KeyResponse
    | Relay
)
