"""Content of a push-pull: everything one peer knows of each node (gossip-wire section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class NodeStateKind(IntEnum):
    """State of a node in a push-pull, with its wire number."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node in a push-pull; `addr` as its owner advertised it, `vsn` six bytes or empty."""

    name: str
    addr: bytes
    port: int
    meta: bytes
    incarnation: int
    state: NodeStateKind
    vsn: bytes


@dataclass(frozen=True, slots=True)
class PushPull:
    """Full state of one side; `user_state` is a serf push-pull with its type byte, or empty."""

    join: bool
    nodes: tuple[NodeState, ...]
    user_state: bytes = b""


@dataclass(frozen=True, slots=True)
class PackedPushPull:
    """The same in encoded form, each node packed by `push_pull.pack_state`; it is never read."""

    join: bool
    states: tuple[bytes, ...]
    user_state: bytes = b""
