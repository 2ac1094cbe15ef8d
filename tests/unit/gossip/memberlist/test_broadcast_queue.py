"""The retransmit queue: order, bounds, and that nothing is lost or sent too often."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.memberlist.broadcast_queue import OVERHEAD_BYTES, BroadcastQueue


def take(queue: BroadcastQueue, room: int = 10_000, limit: int = 4, most: int = 127) -> list[bytes]:
    return queue.take(room, 2, limit, most)


def test_longest_first_then_newest_among_those_sent_equally_often() -> None:
    queue = BroadcastQueue(lambda: 100)
    for message in (b"aa", b"bbbb", b"cc", b"d"):
        queue.add(message)
    assert take(queue) == [b"bbbb", b"cc", b"aa", b"d"]


def test_what_was_sent_least_goes_before_what_is_longer() -> None:
    queue = BroadcastQueue(lambda: 100)
    queue.add(b"longer")
    take(queue)
    queue.add(b"new")
    assert take(queue) == [b"new", b"longer"]


def test_a_packet_is_filled_with_what_fits_also_from_later_tiers() -> None:
    queue = BroadcastQueue(lambda: 100)
    queue.add(b"x" * 5)
    take(queue)
    queue.add(b"y" * 20)
    queue.add(b"z" * 10)
    # 2 + 10 and 2 + 5 fit in 20; 2 + 20 does not.
    assert take(queue, room=20) == [b"z" * 10, b"x" * 5]


def test_a_message_is_dropped_at_the_limit_and_says_so() -> None:
    queue, done = BroadcastQueue(lambda: 100), []
    queue.add(b"m", on_finished=lambda: done.append(True))
    assert [take(queue, limit=3) for _ in range(4)] == [[b"m"]] * 3 + [[]]
    assert done == [True]
    assert len(queue) == 0


def test_a_newer_message_about_the_same_node_replaces_the_older_and_finishes_it() -> None:
    queue, done = BroadcastQueue(lambda: 100), []
    queue.add(b"suspect", "n1", lambda: done.append("suspect"))
    queue.add(b"other", "n2")
    take(queue)
    queue.add(b"alive", "n1")
    assert done == ["suspect"]
    assert take(queue) == [b"alive", b"other"]


def test_messages_without_a_name_never_replace_each_other() -> None:
    queue = BroadcastQueue(lambda: 100)
    queue.add(b"m")
    queue.add(b"m")
    assert take(queue) == [b"m", b"m"]


def test_a_packet_holds_no_more_parts_than_allowed() -> None:
    queue = BroadcastQueue(lambda: 1000)
    for _ in range(300):
        queue.add(b"m")
    assert len(take(queue, most=127)) == 127


def test_past_its_depth_the_queue_gives_up_what_was_sent_most() -> None:
    queue, done = BroadcastQueue(lambda: 3), []
    queue.add(b"old", on_finished=lambda: done.append("old"))
    take(queue)
    for index in range(3):
        queue.add(b"n%d" % index)
    assert done == ["old"]
    assert queue.dropped == 1
    assert sorted(take(queue)) == [b"n0", b"n1", b"n2"]


def test_past_its_bytes_the_queue_gives_up_what_was_sent_most_and_has_room_again_as_it_empties() -> None:
    queue = BroadcastQueue(lambda: 100, max_bytes=3 * (OVERHEAD_BYTES + 10))
    for index in range(3):
        queue.add(b"%010d" % index)
    take(queue)
    queue.add(b"new")
    assert len(queue) == 3
    longer = b"x" * (OVERHEAD_BYTES + 20)
    queue.add(longer)
    assert take(queue) == [longer, b"new"]
    assert queue.dropped == 3
    while take(queue):
        pass
    for index in range(4):
        queue.add(b"%010d" % index)
    assert len(queue) == 3


@given(
    st.lists(
        st.tuples(st.binary(min_size=1, max_size=60), st.one_of(st.none(), st.sampled_from("abcdef"))),
        max_size=60,
    ),
    st.integers(3, 200),
    st.integers(1, 6),
)
def test_every_message_is_sent_exactly_its_limit_within_the_room(
    messages: list[tuple[bytes, str | None]], room: int, limit: int
) -> None:
    queue = BroadcastQueue(lambda: 1000)
    finished = 0

    def count() -> None:
        nonlocal finished
        finished += 1

    for message, name in messages:
        queue.add(message, name, count)
    latest = {name: message for message, name in messages if name is not None}
    kept = [message for message, name in messages if name is None] + list(latest.values())
    sent: list[bytes] = []
    while taken := take(queue, room=room, limit=limit):
        assert sum(2 + len(message) for message in taken) <= room
        sent += taken
    fitting = [message for message in kept if len(message) + 2 <= room]
    assert sorted(sent) == sorted(fitting * limit)
    assert finished == len(messages) - (len(kept) - len(fitting))


@pytest.mark.heavy
def test_a_full_queue_of_four_thousand_is_emptied_within_a_second() -> None:
    queue = BroadcastQueue(lambda: 4096)
    for index in range(4096):
        queue.add(b"m" * (20 + index % 50), f"n{index}")
    start = time.process_time()
    while take(queue, room=1400, limit=16):
        pass
    assert time.process_time() - start < 1.0
