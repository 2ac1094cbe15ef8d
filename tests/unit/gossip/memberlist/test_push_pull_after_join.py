"""After a join, full exchanges follow until it is quiet, and nothing of them stays."""

from __future__ import annotations

import gc

import pytest
from tests.unit.gossip.memberlist_harness import Loner, alive, endpoint
from tests.unit.gossip.push_pull_fixtures import PLAIN, state

from wgmesh_agent.gossip.memberlist.streams import OpenStream, Purpose
from wgmesh_agent.gossip.wire.messages import (
    Alive,
    NodeState,
    PushPull,
)
from wgmesh_agent.gossip.wire.packing import ObjectStream
from wgmesh_agent.gossip.wire.stream import stream_message


def exchanges(core: Loner) -> list[OpenStream]:
    """The exchanges that it opens with any member, consumed."""
    opened = [a for a in core.actions if isinstance(a, OpenStream) and a.purpose is not Purpose.PING]
    core.actions.clear()
    return opened


def tell(core: Loner, opened: OpenStream, *names: str) -> None:
    """The other side of an exchange answers that it knows these."""
    reply = PushPull(False, tuple(state(name) for name in names))
    core.feed(opened.stream_id, PLAIN.encode(stream_message(reply), True))


def joined(*names: str) -> Loner:
    """A core that has joined by n2, which knows these."""
    core = Loner()
    core.do(lambda serf: serf.join(endpoint(2), core.now))
    tell(core, exchanges(core)[0], *names)
    return core


def test_after_a_join_exchanges_follow_quickly_as_long_as_members_appear_and_once_when_it_is_quiet() -> None:
    core = joined("n2", "n3")
    core.pass_time(1.9)
    assert exchanges(core) == []
    core.pass_time(0.2)
    (quiet,) = exchanges(core)
    tell(core, quiet, "n2", "n3", "n4")
    core.pass_time(0.5)
    (news,) = exchanges(core)
    tell(core, news, "n2", "n3", "n4")
    core.pass_time(1.5)
    assert exchanges(core) == []
    core.pass_time(0.5)
    (last,) = exchanges(core)
    tell(core, last, "n2", "n3", "n4")
    core.pass_time(10.0)
    assert exchanges(core) == []


def test_where_members_go_on_to_appear_the_exchanges_after_a_join_come_to_an_end() -> None:
    core = joined("n2")
    opened = 0
    for index in range(3, 63):
        core.hear(alive(f"n{index}"))
        core.pass_time(0.2)
        opened += len(exchanges(core))
    assert 10 < opened <= 16 + 1, "of twelve seconds, with those of the regular thirty"


def test_who_joins_alone_does_not_repeat_what_it_is_told() -> None:
    core = joined("n2", "n3")
    core.pass_time(3.0)
    assert {message.node for _, message, _ in core.of(Alive)} == {"n1"}


def test_who_brings_members_of_its_own_tells_them_of_those_it_meets() -> None:
    core = Loner().know(2)
    core.pass_time(5.0)
    core.clear()
    core.do(lambda serf: serf.join(endpoint(3), core.now))
    tell(core, exchanges(core)[0], "n3", "n4")
    core.pass_time(3.0)
    assert {"n3", "n4"} <= {message.node for to, message, _ in core.of(Alive) if to == endpoint(2)}


@pytest.mark.heavy
def test_what_an_exchange_brought_is_free_when_it_is_over_and_waits_for_no_collector() -> None:

    def held() -> int:
        return sum(isinstance(thing, NodeState | ObjectStream) for thing in gc.get_objects())

    core = Loner()
    core.do(lambda serf: serf.join(endpoint(2), core.now))
    gc.collect()
    gc.disable()
    try:
        before = held()
        tell(core, exchanges(core)[0], *(f"n{index}" for index in range(2, 200)))
        core.pass_time(0.1)
        assert held() == before
    finally:
        gc.enable()
