"""Body of a push-pull: header, node states, user state one after the other, read as they arrive.

An unencrypted stream has no length, so the reader takes pieces and detects itself when the message is complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from wgmesh_agent.gossip.errors import DecodeError
from wgmesh_agent.gossip.wire.node_state import NodeState, NodeStateKind, PackedPushPull, PushPull
from wgmesh_agent.gossip.wire.packing import ObjectStream, pack
from wgmesh_agent.gossip.wire.schema import BOOL, BYTES, I64, TEXT, U16, U32, Field, Kind, Struct

MAX_NODES: Final = 2**15
"""Maximum of node states of one push-pull: twice the largest mesh. Go's own limit is 2^20."""
MAX_PUSH_PULL_BYTES: Final = 8 * 2**20
"""Maximum size of a complete push-pull body: some 30,000 nodes of 250 bytes."""
MAX_USER_STATE_BYTES: Final = 4 * 2**20
"""Maximum of user state of one push-pull: status times of some 100,000 members. Go's own limit is 20 MiB."""

NODES_AT_ONCE: Final = 128
"""Nodes read, or merged, in one step: a few milliseconds of work; smaller clusters are never divided."""


def _decode_state(value: Any) -> NodeStateKind:
    number = I64.decode(value)
    try:
        return NodeStateKind(number)
    except ValueError:
        raise DecodeError(f"wants a node state in 0..3, got {number}") from None


@dataclass(frozen=True, slots=True)
class _Header:
    nodes: int
    user_state_bytes: int
    join: bool


_HEADER: Final = Struct(
    _Header,
    Field("nodes", "Nodes", I64),
    Field("user_state_bytes", "UserStateLen", I64),
    Field("join", "Join", BOOL),
)
_NODE_STATE: Final = Struct(
    NodeState,
    Field("name", "Name", TEXT),
    Field("addr", "Addr", BYTES),
    Field("port", "Port", U16),
    Field("meta", "Meta", BYTES),
    Field("incarnation", "Incarnation", U32),
    Field("state", "State", Kind(_decode_state, int)),
    Field("vsn", "Vsn", BYTES),
)


def encode_body(message: PushPull) -> bytes:
    """Encodes the body without the type byte."""
    states = tuple(map(pack_state, message.nodes))
    return encode_packed(PackedPushPull(message.join, states, message.user_state))


def encode_packed(message: PackedPushPull) -> bytes:
    """Encodes the body without the type byte, from node states packed before."""
    header = _HEADER.pack(_Header(len(message.states), len(message.user_state), message.join))
    return b"".join((header, *message.states, message.user_state))


def pack_state(node: NodeState) -> bytes:
    """Encodes one node state."""
    return pack(_NODE_STATE.to_wire(node))


class PushPullReader:
    """Reads one push-pull body from pieces, and at most some nodes at a time.

    `behind` means that received bytes are not read yet: feed nothing to continue.
    """

    def __init__(self) -> None:
        self.behind = False
        self._stream = ObjectStream(MAX_PUSH_PULL_BYTES)
        self.announced = 0
        """Number of node states according to its header."""
        self._header: _Header | None = None
        self._nodes: list[NodeState] = []

    def feed(self, data: bytes) -> PushPull | None:
        """Returns the message once it is complete, else None. Raises PeerError; the reader is unusable after that."""
        self._stream.feed(data)
        if self._header is None:
            found, value = self._stream.next_object()
            if not found:
                return None
            self._header = self._checked(_HEADER.from_wire(value))
            self.announced = self._header.nodes
        self.behind = False
        begun = len(self._nodes)
        while len(self._nodes) < self._header.nodes:
            if len(self._nodes) - begun == NODES_AT_ONCE:
                self.behind = True
                return None
            found, value = self._stream.next_object()
            if not found:
                return None
            self._nodes.append(_NODE_STATE.from_wire(value))
        user_state = self._stream.next_bytes(self._header.user_state_bytes)
        if user_state is None:
            return None
        return PushPull(self._header.join, tuple(self._nodes), user_state)

    @staticmethod
    def _checked(header: _Header) -> _Header:
        if not 0 <= header.nodes <= MAX_NODES:
            raise DecodeError(f"a push-pull of {header.nodes} nodes; at most {MAX_NODES} are read")
        if not 0 <= header.user_state_bytes <= MAX_USER_STATE_BYTES:
            raise DecodeError(
                f"a push-pull with {header.user_state_bytes} bytes of user state; "
                f"at most {MAX_USER_STATE_BYTES} are read"
            )
        return header


def decode_body(data: bytes) -> PushPull:
    """Decodes the push-pull in `data`, a complete body. Raises PeerError."""
    reader = PushPullReader()
    message = reader.feed(data)
    while reader.behind:
        message = reader.feed(b"")
    if message is None:
        raise DecodeError("a push-pull ends before its node states and user state do")
    return message
