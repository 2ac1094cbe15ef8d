"""What a core on a bench hears and says of serf's own messages."""

from __future__ import annotations

from typing import Any

from tests.unit.gossip.memberlist_harness import PORT, Loner, address

from wgmesh_agent.gossip.wire.messages import Message, UserMessage
from wgmesh_agent.gossip.wire.serf_messages import Query, SerfMessage, decode_serf, encode_serf


def user(message: SerfMessage) -> Message:
    return UserMessage(encode_serf(message))


def query(**changes: Any) -> Query:
    values: dict[str, Any] = {
        "ltime": 5,
        "id": 99,
        "addr": address(2),
        "port": PORT,
        "source_node": "n2",
        "timeout_ns": 5 * 10**9,
        "name": "hello",
        "payload": b"there",
    }
    return Query(**{**values, **changes})


def said(core: Loner, kind: type[Any]) -> list[tuple[Any, Any]]:
    """serf messages sent: destination and message."""
    decoded = [(to, decode_serf(message.payload)) for to, message, _ in core.of(UserMessage)]
    return [(to, message) for to, message in decoded if isinstance(message, kind)]
