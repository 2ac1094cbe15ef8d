"""What peers can make a node keep has an end in bytes, in time, and for each of them."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from itertools import count

import pytest
from tests.unit.gossip.memberlist_harness import PORT, Loner, address, alive, endpoint
from tests.unit.gossip.push_pull_fixtures import PLAIN, push_pull, state
from tests.unit.gossip.serf_harness import query, user

from wgmesh_agent.gossip.memberlist.quota import Quota
from wgmesh_agent.gossip.memberlist.unverified_members import TOLD_SECONDS
from wgmesh_agent.gossip.serf.events import MemberReaped, QueryReceived
from wgmesh_agent.gossip.wire.endpoint import IPAddress
from wgmesh_agent.gossip.wire.messages import Alive, NodeState, NodeStateKind, PushPull, UserMessage
from wgmesh_agent.gossip.wire.serf_messages import JoinIntent, UserEvent
from wgmesh_agent.gossip.wire.stream import MAX_FRAME_BYTES, stream_message
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS

MEGABYTE = 1 << 20


class Admitted:
    """Vouches for all names that begin with n."""

    def is_vouched_for(self, name: str) -> bool:
        return name.startswith("n")

    def is_stranger(self, name: str) -> bool:
        return not self.is_vouched_for(name)

    def holder(self, address: IPAddress) -> str | None:
        return None


@pytest.fixture
def kept() -> Iterator[list[int]]:
    gc.collect()
    tracemalloc.start()
    yield [tracemalloc.get_traced_memory()[0]]
    tracemalloc.stop()


def growth(kept: list[int]) -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - kept[0]


@pytest.mark.heavy
def test_intents_of_unknown_nodes_are_bounded_in_bytes_and_go_with_time(kept: list[int]) -> None:
    core = Loner()
    for number in range(2000):
        core.hear(user(JoinIntent(5, f"{number:06}" + "\U0001f600" * 30)), user(JoinIntent(5, "x" * 60_000)))
        core.clear()
    assert growth(kept) < MEGABYTE
    assert 0 < len(core.core._members._intents) <= 1024
    core.pass_time(400)
    assert len(core.core._members._intents) == 0


def test_queries_that_wait_for_an_answer_are_bounded_for_each_speaker_and_go_with_time() -> None:
    core = Loner().know(3)
    for number in range(1000):
        core.hear(user(query(id=number, payload=b"x" * 1000)), source=3)
    core.hear(user(query(id=2000, payload=b"x" * 60_000)), source=2)
    core.hear(user(query(id=2001)), source=2)
    ids = {event.id for event in core.events if isinstance(event, QueryReceived)}
    assert (len(ids), 2000 in ids, 2001 in ids) == (257, False, True)
    assert sum(len(waiting.query.payload) for waiting in core.core._answers._open.values()) == 0
    core.clear()
    core.pass_time(400)
    assert core.core._answers._open == {}


@pytest.mark.heavy
def test_invented_members_push_out_each_other_and_nobody_who_is_vouched_for() -> None:
    core = Loner(vouching=Admitted(), max_strangers=50).know(20)
    for number in range(5000):
        core.hear(alive(f"x{number}", index=number % 250 + 2))
        core.clear()
    members = core.core.members()
    assert len([name for name in members if name.startswith("x")]) == 50
    assert "x4999" in members
    assert len([name for name in members if name.startswith("n")]) == 20
    core.hear(alive("n21"))
    assert "n21" in core.core.members()
    core.pass_time(60)
    assert core.core._memberlist.table.get("x0") is None


def test_what_is_passed_on_for_others_is_bounded_by_how_many_members_there_are() -> None:
    core, times = Loner(min_queue_depth=10, max_queue_depth=100), count(1)

    def kept() -> int:
        for _ in range(300):
            core.hear(user(UserEvent(next(times), "e", b"")))
        return len(core.core._broadcasts.events)

    assert [kept(), core.know(20) and kept()] == [10, 40]


def test_invented_members_go_with_time_and_who_answers_or_is_vouched_for_stays() -> None:
    names: set[str] = set()

    class Ledger(Admitted):
        def is_vouched_for(self, name: str) -> bool:
            return super().is_vouched_for(name) or name in names

    core = Loner(vouching=Ledger())
    for number in range(1, 600):
        core.hear(alive(f"x{number}", index=number % 250 + 2))
    names.add("x7")
    record = core.core._memberlist.table.get("x8")
    assert record is not None
    record.answered = core.now + 1
    core.pass_time(250)
    assert len(core.core.members()) == 600
    core.pass_time(200)
    assert set(core.core.members()) == {"n1", "x7", "x8"}
    core.pass_time(400)
    assert set(core.core.members()) == {"n1", "x7"}


def test_who_is_vouched_for_by_now_is_no_stranger() -> None:
    names: set[str] = set()

    class Ledger(Admitted):
        def is_vouched_for(self, name: str) -> bool:
            return name in names

    core = Loner(vouching=Ledger(), max_strangers=2)
    core.hear(alive("n2"), alive("n3"))
    names.update(("n2", "n3"))
    core.hear(alive("x4", index=4), alive("x5", index=5), alive("x6", index=6))
    assert set(core.core.members()) == {"n1", "n2", "n3", "x5", "x6"}
    assert [event.member.name for event in core.events if isinstance(event, MemberReaped)] == ["x4"]


@pytest.mark.heavy
def test_a_state_that_does_not_fit_is_sent_in_part_with_those_first_who_are_vouched_for() -> None:
    core = Loner(vouching=Admitted(), max_strangers=16_000).know(20)
    for number in range(8000):
        addr = (0x0B000000 + number).to_bytes(4, "big")
        core.core._memberlist.membership.alive(
            Alive(1, f"x{number}", addr, PORT, bytes(512), OWN_VERSIONS), 0.0, tell=False
        )
    stream = core.do(lambda serf: serf.stream_accepted(endpoint(2)))
    core.feed(stream, PLAIN.encode(stream_message(push_pull()), False))
    payload = core.actions.pop().payload
    assert MAX_FRAME_BYTES // 2 < len(payload) <= MAX_FRAME_BYTES
    decoder = PLAIN.decoder(True)
    message = decoder.feed(payload)
    while message is None:
        message = decoder.feed(b"")
    assert isinstance(message, PushPull)
    assert {node.name for node in message.nodes} >= {f"n{number}" for number in range(1, 21)}


def test_a_quota_is_shared_and_given_back() -> None:
    quota = Quota(10, 4)
    assert quota.take("a", 4)
    assert not quota.take("a", 1)
    assert quota.take("b", 4)
    assert not quota.take("c", 3)
    quota.give_back("a", 4)
    assert quota.take("c", 3)


def test_of_states_that_wait_to_be_merged_one_speaker_has_a_half() -> None:
    core = Loner()
    exchange = core.core._memberlist._exchange
    said: list[str | None] = []
    nodes = tuple(state(f"n{2 + number % 200}", NodeStateKind.SUSPECT) for number in range(18_000))
    for source in (2, 2, 3, 4):
        message = PushPull(False, nodes)
        exchange._merge(message, False, lambda error, now: said.append(error), 0.0, endpoint(source))
    assert said == ["too many members of other states wait to be merged"] * 2
    core.pass_time(10)
    assert said[2:] == [None] * 2
    assert not exchange._waiting._taken


def test_what_is_told_of_strangers_waits_for_all_else() -> None:
    core = Loner(vouching=Admitted()).know(3)
    core.pass_time(30)
    core.clear()
    for number in range(300):
        core.hear(alive(f"x{number}", index=number % 200 + 5, meta=bytes(300)))
    core.hear(alive("n4"), user(UserEvent(2, "hello", b"x" * 200)), user(query(id=7)))
    core.clear()
    core.pass_time(0.2)
    first = core.datagrams[0][0]
    parts = [message for to, message, _ in core.sent if to == first]
    assert [type(part) for part in parts[:3]] == [Alive, UserMessage, UserMessage]
    assert parts[0] == alive("n4")
    assert {part.node[0] for part in parts[3:] if isinstance(part, Alive)} == {"x"}


def test_what_waited_too_long_to_be_told_of_strangers_is_told_nobody() -> None:
    """Others that had forgotten them would learn of them again, and rebroadcast them."""
    core = Loner(vouching=Admitted())
    for number in range(200):
        core.hear(alive(f"x{number}", index=number % 200 + 5))
    told = core.core._memberlist._of_strangers
    assert len(told) == 200
    core.know(3)
    core.core._memberlist._dissemination.stop()
    core.pass_time(TOLD_SECONDS - 10)
    assert told
    core.pass_time(20)
    assert not told
    assert len(core.core.members()) == 203


def test_room_for_strangers_is_made_at_the_cost_of_one() -> None:
    asked: list[str] = []

    class Counted(Admitted):
        def is_stranger(self, name: str) -> bool:
            asked.append(name)
            return super().is_stranger(name)

    core = Loner(vouching=Counted(), max_strangers=1000)
    for number in range(1000):
        core.hear(alive(f"x{number}", index=number % 250 + 2))
    asked.clear()
    for number in range(1000, 1100):
        core.hear(alive(f"x{number}", index=number % 250 + 2))
    assert len(asked) <= 5 * 100


def small_state(nodes: int, source: int) -> bytes:
    """As many members as fit in as few bytes as can be."""
    said = tuple(
        NodeState(f"{source}{number}", address(source), PORT, b"", 1, NodeStateKind.SUSPECT, b"")
        for number in range(nodes)
    )
    return PLAIN.encode(stream_message(PushPull(False, said)), False)


def test_of_members_that_are_read_one_address_has_a_half_and_all_together_take_so_much() -> None:
    core = Loner(max_waiting_nodes=10_000)
    data = {source: small_state(4000, source) for source in (2, 3, 4)}
    streams = []
    for source in (2, 2, 3, 4):
        stream = core.core.stream_accepted(endpoint(source))
        assert stream is not None
        streams.append(stream)
        core.feed(stream, data[source])
    refused = [action.stream_id for action in core.actions]
    assert refused == [streams[1], streams[3]]
    core.pass_time(1)
    assert [action.stream_id for action in core.actions[2:]] == [streams[0], streams[2]]
    assert not core.core._memberlist.streams._waiting._taken
