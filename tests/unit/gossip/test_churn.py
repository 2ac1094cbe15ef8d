"""Members that come and go leave nothing behind but what is bounded."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from tests.unit.gossip.memberlist_harness import Loner, alive
from tests.unit.gossip.serf_harness import user

from wgmesh_agent.gossip.memberlist.streams import OpenStream
from wgmesh_agent.gossip.wire.messages import Dead
from wgmesh_agent.gossip.wire.serf_messages import JoinIntent, LeaveIntent, UserEvent, encode_tags

CYCLE_SECONDS = 1.0


def cycle(core: Loner, number: int) -> None:
    """n2 and n3 come with a new key each, announced by an event of its own, and leave."""
    for index in (2, 3):
        name, ltime = f"n{index}", 4 * number + index
        meta = encode_tags({"_pk": f"{number:064}", "_addr": f"192.0.2.{number % 250}", "_port": "54540"})
        core.hear(user(UserEvent(ltime, "_j", f"{number:04}{name}".encode() * 40)), source=4)
        core.hear(alive(name, 2 * number + 1, meta=meta), user(JoinIntent(ltime, name)), source=index)
        core.pass_time(CYCLE_SECONDS / 4)
        core.hear(user(LeaveIntent(ltime + 1, name)), Dead(2 * number + 1, name, name), source=index)
        core.pass_time(CYCLE_SECONDS / 4)
        for action in core.actions:
            if isinstance(action, OpenStream):
                core.core.stream_closed(action.stream_id, "refused", core.now, refused=True)
        core.clear()


def kept(core: Loner) -> int:
    core.clear()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.heavy
def test_two_thousand_joins_and_leaves_end_where_five_hundred_did() -> None:
    """By 400 the window of 512 events and the 1,024 messages kept as they were read are full: measured."""
    core = Loner()
    tracemalloc.start()
    try:
        for number in range(1, 501):
            cycle(core, number)
        before = kept(core)
        for number in range(501, 2001):
            cycle(core, number)
        assert kept(core) - before < 64 << 10
    finally:
        tracemalloc.stop()
