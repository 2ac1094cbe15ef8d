"""serf's part of a push-pull: the three clocks, every member's status time, left members, and recent user events.

The one serf message that grows with the mesh, so it has separate bounds (gossip-wire section 8.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wgmesh_agent.gossip.errors import LimitError
from wgmesh_agent.gossip.wire.packing import Bounds, unpack_first
from wgmesh_agent.gossip.wire.schema import BYTES, TEXT, U64, Field, Kind, Struct, text_map, tuple_of

MAX_BODY_BYTES: Final = 4 * 2**20
"""Maximum size of one serf push-pull: status times and recent events of the largest mesh twice."""
_BOUNDS: Final = Bounds(array_entries=2**14, map_entries=2**15, containers=2**14)
"""Left members or event slots (Go sends 512 of these); members; eight containers and three for each event."""


@dataclass(frozen=True, slots=True)
class EventSlot:
    """User events of one Lamport time, as (name, payload)."""

    ltime: int
    events: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class SerfPushPull:
    """serf state of one side. `events` may hold None for empty slots (slot = LTime mod 512 in Go)."""

    ltime: int
    status_ltimes: Mapping[str, int] = field(default_factory=dict)
    left_members: tuple[str, ...] = ()
    event_ltime: int = 0
    events: tuple[EventSlot | None, ...] = ()
    query_ltime: int = 0


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    payload: bytes


_EVENT: Final = Struct(_Event, Field("name", "Name", TEXT), Field("payload", "Payload", BYTES))


def _decode_event(value: Any) -> tuple[str, bytes]:
    event = _EVENT.from_wire(value)
    return event.name, event.payload


def _encode_event(event: tuple[str, bytes]) -> Any:
    return _EVENT.to_wire(_Event(*event))


_SLOT: Final = Struct(
    EventSlot,
    Field("ltime", "LTime", U64),
    Field("events", "Events", tuple_of(Kind(_decode_event, _encode_event))),
)
_PUSH_PULL: Final = Struct(
    SerfPushPull,
    Field("ltime", "LTime", U64),
    Field("status_ltimes", "StatusLTimes", text_map(U64)),
    Field("left_members", "LeftMembers", tuple_of(TEXT)),
    Field("event_ltime", "EventLTime", U64),
    Field("events", "Events", tuple_of(_SLOT.optional_kind)),
    Field("query_ltime", "QueryLTime", U64),
)


def encode_push_pull(message: SerfPushPull) -> bytes:
    """Encodes the body without the type byte; status times in the order of the mapping."""
    return _PUSH_PULL.pack(message)


def decode_push_pull(body: bytes) -> SerfPushPull:
    """Decodes the push-pull in `body`. Raises PeerError."""
    if len(body) > MAX_BODY_BYTES:
        raise LimitError(f"a serf push-pull of {len(body)} bytes; at most {MAX_BODY_BYTES} are read")
    return _PUSH_PULL.from_wire(unpack_first(body, _BOUNDS)[0])
