"""A member sends every kind of message in the name of all members about all members: no live member changes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import get_args

import pytest
from tests.sim.simulator import PORT, Node, Simulator

from wgmesh_agent.gossip.serf.events import MemberLeft, MemberReaped, NameConflict
from wgmesh_agent.gossip.wire.endpoint import Endpoint, IPAddress
from wgmesh_agent.gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Message,
    Nack,
    NodeState,
    NodeStateKind,
    PackedPushPull,
    Ping,
    PushPull,
    StreamError,
    Suspect,
    UserMessage,
    encode,
)
from wgmesh_agent.gossip.wire.serf_messages import (
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
    SerfPushPull,
    UserEvent,
    encode_serf,
    encode_tags,
)
from wgmesh_agent.gossip.wire.stream import StreamCodec, stream_message
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS

HONEST = 4
BETWEEN_SECONDS = 0.05
CALM_SECONDS = 20.0
NO_STREAM = 1 << 30
QUERIES = (
    "_claim",
    "_where",
    "_relay",
    "_herald",
    "_admission",
    "_doctor",
    "_serf_ping",
    "_serf_conflict",
    "_serf_install-key",
    "_serf_use-key",
    "_serf_remove-key",
    "_serf_list-keys",
)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Knows n0 to n4 at 10.0.0.1 and on, as an agent's ledger does."""

    def is_vouched_for(self, name: str) -> bool:
        return name in {f"n{index}" for index in range(HONEST + 1)}

    def is_stranger(self, name: str) -> bool:
        return not self.is_vouched_for(name)

    def holder(self, address: IPAddress) -> str | None:
        index = address.packed[3] - 1
        return f"n{index}" if index <= HONEST else None


Said = Message | SerfMessage
About = tuple[Node, Node, Endpoint]
"""Its subject, its claimed sender, and any address."""


def _query(name: str, about: Node, by: Node, at: Endpoint, rng: random.Random) -> Query:
    return Query(
        ltime=rng.randrange(2, 100),
        id=rng.getrandbits(31),
        addr=at.address.packed,
        port=PORT,
        source_node=by.name,
        filters=(),
        flags=rng.choice([0, 1]),
        relay_factor=rng.choice([0, 3]),
        timeout_ns=10**9,
        name=name,
        payload=rng.choice([about.name.encode(), encode_serf(KeyRequest(bytes(32)))]),
    )


def datagrams(about: Node, by: Node, at: Endpoint, rng: random.Random) -> Iterator[Said]:
    """Every message of a datagram."""
    member = about.core.members()[about.name]
    addr, tags = at.address.packed, encode_tags({"_pk": "stolen", "_i": str(at.address)})
    for incarnation in (member.incarnation, member.incarnation + 1, member.incarnation + 30, (1 << 32) - 1):
        yield Alive(incarnation, about.name, addr, PORT, tags, OWN_VERSIONS)
        yield Alive(incarnation, about.name, about.endpoint.address.packed, PORT, tags, OWN_VERSIONS)
        yield Suspect(incarnation, about.name, by.name)
        yield Dead(incarnation, about.name, by.name)
    number = rng.randrange(1 << 16)
    yield Ping(number, about.name, addr, PORT, by.name)
    yield IndirectPing(number, addr, PORT, about.name, True, addr, PORT, by.name)
    yield Ack(number, b"\x01\x80")
    yield Nack(number)
    for ltime in (2, rng.randrange(2, 1000), 1 << 30):
        yield JoinIntent(ltime, about.name)
        yield LeaveIntent(ltime, about.name, prune=False)
        yield LeaveIntent(ltime, about.name, prune=True)
        yield UserEvent(ltime, "_j", about.name.encode())
        yield QueryResponse(ltime, rng.getrandbits(31), by.name, rng.choice([0, 1]), about.name.encode())
    for name in QUERIES:
        yield _query(name, about, by, at, rng)
    known = ConflictMember(about.name, addr, PORT, {"_pk": "stolen"}, MemberStatus.LEFT, *OWN_VERSIONS)
    yield ConflictResponse(known)
    yield KeyRequest(bytes(32))
    yield KeyResponse(result=True)
    yield Relay(addr, PORT, "", by.name, encode_serf(LeaveIntent(5, about.name, prune=True)))


def streams(about: Node, by: Node, at: Endpoint) -> Iterator[Said]:
    """Every message of a stream."""
    member = about.core.members()[about.name]
    serf = SerfPushPull(9, {about.name: 9, by.name: 8}, (about.name,), 9, (), 9)
    for kind, place in product(NodeStateKind, (at, about.endpoint)):
        node = NodeState(
            about.name, place.address.packed, PORT, b"\xff\x80", member.incarnation + 1, kind, OWN_VERSIONS
        )
        yield PushPull(True, (node,), encode_serf(serf))
        yield PushPull(False, (node,), encode_serf(serf))
    yield Ping(1, about.name, at.address.packed, PORT, by.name)
    yield UserMessage(encode_serf(LeaveIntent(9, about.name, prune=True)))
    yield StreamError(about.name)


def accused_and_dismissed(about: Node, by: Node, ltime: int) -> Iterator[tuple[Said, Said]]:
    """That it is dead and that it leaves, at a time that no member has received yet, in one datagram."""
    incarnation = about.core.members()[about.name].incarnation
    for prune, accuser in product((False, True), (by.name, about.name)):
        dead = Dead(incarnation, about.name, accuser)
        leave = LeaveIntent(ltime, about.name, prune)
        yield dead, leave
        yield leave, dead


def encoded(said: Said) -> bytes:
    if isinstance(said, SerfMessage):
        return encode(UserMessage(encode_serf(said)))
    return encode(said)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_is_said_in_another_s_name_changes_a_living_member(seed: int) -> None:
    sim = Simulator(seed, key=bytes(32), vouching=Ledger())
    *honest, hostile = sim.cluster(HONEST + 1, tags={"role": "honest"})
    sim.run_until(sim.all_alive, 30, "the cluster is whole")
    before = {node.name: views(node, honest) for node in honest}
    for node in honest:
        node.log.clear()
    ring = hostile.core._memberlist._packets
    rng = random.Random(seed)
    kinds: set[type] = set()
    for about, by in product([*honest, hostile], repeat=2):
        at = rng.choice(honest).endpoint
        for said in datagrams(about, by, at, rng):
            kinds.add(type(said))
            for target in honest:
                sim._send(hostile, ring.encode([encoded(said)]), target.endpoint)
            sim.run(BETWEEN_SECONDS)
        for pair in accused_and_dismissed(about, by, max(node.core._clock.time for node in honest) + 2):
            for target in honest:
                sim._send(hostile, ring.encode([encoded(said) for said in pair]), target.endpoint)
            sim.run(BETWEEN_SECONDS)
        for said in streams(about, by, at):
            kinds.add(type(said))
            tell(sim, hostile, rng.choice(honest), said)
            sim.run(BETWEEN_SECONDS)
    assert kinds >= {*get_args(Message), *get_args(SerfMessage), UserMessage} - {PackedPushPull, SerfPushPull}
    sim.run_until(
        lambda: all(views(node, honest) == before[node.name] for node in honest),
        CALM_SECONDS,
        "all is as it was",
    )
    for node in honest:
        gone = [*node.heard(MemberLeft), *node.heard(MemberReaped)]
        assert not [event for event in gone if event.member.name != hostile.name]
        assert not [event for event in node.heard(NameConflict) if event.lost]
        keyring = node.core._memberlist._packets._keyring
        assert keyring is not None
        assert keyring.keys == (bytes(32),)


def views(node: Node, of: list[Node]) -> dict[str, object]:
    """What it has of others: where they live, what they say of themselves, and that they live."""
    members = node.core.members()
    return {
        one.name: (member.address, member.port, dict(member.tags), member.status)
        for one in of
        for member in [members.get(one.name)]
        if member is not None
    }


def tell(sim: Simulator, hostile: Node, target: Node, said: Said) -> None:
    """By a stream from the hostile member's own address."""
    codec: StreamCodec = hostile.core._memberlist.streams._codec
    stream = target.core.stream_accepted(Endpoint(hostile.endpoint.address, 0))
    assert stream is not None
    sim._streams[target.name, stream] = (hostile.name, NO_STREAM)
    target.core.stream_received(stream, codec.encode(stream_message(said), False), sim.now)  # type: ignore[arg-type]
    sim.pump(target)
