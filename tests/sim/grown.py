"""A cluster that has long been whole, made in no time: every table filled as hours of gossip would have left it."""

from __future__ import annotations

import math

from tests.sim.simulator import Node, Simulator

from wgmesh_agent.gossip.memberlist.node_table import NodeRecord
from wgmesh_agent.gossip.memberlist.push_pull_sync import pack
from wgmesh_agent.gossip.serf.member_table import SerfMember
from wgmesh_agent.gossip.wire.messages import NodeStateKind
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS


def grow(simulator: Simulator, size: int) -> list[Node]:
    """`size` nodes n0, n1, … that all know each other, with nothing left to say."""
    nodes = [simulator.add(f"n{index}") for index in range(size)]
    packed = {node.name: pack(node.core._memberlist.own) for node in nodes}
    for node in nodes:
        memberlist, members = node.core._memberlist, node.core._members
        for other in nodes:
            if other is not node:
                record = _record(other, packed[other.name])
                memberlist.table._by_name[record.name] = record
                memberlist.table._by_address[record.endpoint.address] = [record]
                memberlist.table._order.append(record)
                members._members[record.name] = SerfMember(record, MemberStatus.ALIVE, 1, 0.0)
        simulator._rng.shuffle(memberlist.table._order)
        memberlist.table._cursor = simulator._rng.randrange(size)
        # Alone it would have exchanged states soon; among so many its turn comes rarely.
        timer = memberlist._exchange._timer
        assert timer is not None
        timer.cancel()
        memberlist._exchange.start(memberlist.streams, simulator.now)
        # Its own messages at its start arrived long ago.
        memberlist._queue.take(1 << 20, 0, 1, 1 << 20)
    return nodes


def _record(other: Node, packed: bytes) -> NodeRecord:
    own = other.core._memberlist.own
    record = NodeRecord.__new__(NodeRecord)
    record.name, record.addr, record.port, record.endpoint = own.name, own.addr, own.port, own.endpoint
    record.meta, record.vsn, record.incarnation = own.meta, OWN_VERSIONS, own.incarnation
    record.state, record.changed, record.packed = NodeStateKind.ALIVE, own.changed, packed
    record.suspicion = record.suspicion_timer = record.doubt = record.doubted = None
    record.says_goodbye = False
    record.own_word, record.own_word_at, record.last_asked = own.incarnation, 0.0, -math.inf
    return record
