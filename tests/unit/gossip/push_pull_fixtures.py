"""What peers of a core on a bench say of nodes in a full exchange."""

from __future__ import annotations

from typing import Any

from tests.unit.gossip.memberlist_harness import PORT, address

from wgmesh_agent.gossip.wire.messages import (
    NodeState,
    NodeStateKind,
    PushPull,
)
from wgmesh_agent.gossip.wire.serf_messages import (
    SerfPushPull,
    encode_serf,
)
from wgmesh_agent.gossip.wire.stream import StreamCodec
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS

PLAIN = StreamCodec(None)


def state(name: str, kind: NodeStateKind = NodeStateKind.ALIVE, **changes: Any) -> NodeState:
    values: dict[str, Any] = {
        "addr": address(int(name[1:])),
        "port": PORT,
        "meta": b"\xff\x80",
        "incarnation": 1,
        "vsn": OWN_VERSIONS,
    }
    values.update(changes)
    return NodeState(name=name, state=kind, **values)


def push_pull(*nodes: NodeState, join: bool = False, serf: SerfPushPull | None = None) -> PushPull:
    return PushPull(join, nodes, b"" if serf is None else encode_serf(serf))
