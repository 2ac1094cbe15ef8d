"""Probe order, fair picks and forgetting in the memberlist table."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from tests.unit.gossip.memberlist_harness import PORT, address

from wgmesh_agent.gossip.memberlist.node_table import NodeRecord, NodeTable
from wgmesh_agent.gossip.wire.messages import NodeStateKind

ALIVE, DEAD, LEFT = NodeStateKind.ALIVE, NodeStateKind.DEAD, NodeStateKind.LEFT


def table_of(count: int, seed: int = 1) -> tuple[NodeTable, list[NodeRecord]]:
    table = NodeTable(random.Random(seed), 1000, 100.0)
    records = [NodeRecord(f"n{index}", address(index), PORT) for index in range(count)]
    for record in records:
        table.add(record)
        table.set_state(record, ALIVE, 0.0)
    return table, records


def probe(table: NodeTable, own: NodeRecord, now: float = 0.0) -> str | None:
    record = table.next_to_probe(own, now, 30.0)
    return None if record is None else record.name


def test_every_other_node_is_probed_once_in_each_round_in_changing_order() -> None:
    table, records = table_of(20)
    rounds = [[probe(table, records[0]) for _ in range(19)] for _ in range(3)]
    for order in rounds:
        assert sorted(map(str, order)) == sorted(record.name for record in records[1:])
    assert rounds[0] != rounds[1] != rounds[2]


def test_the_dead_and_the_left_are_not_probed_and_alone_there_is_nobody() -> None:
    table, records = table_of(3)
    table.set_state(records[1], DEAD, 0.0)
    assert {probe(table, records[0]) for _ in range(5)} == {"n2"}
    table.set_state(records[2], LEFT, 0.0)
    assert probe(table, records[0]) is None


def test_the_gone_are_buried_at_a_wrap_after_their_time() -> None:
    table, records = table_of(4)
    table.set_state(records[1], DEAD, 0.0)
    table.set_state(records[2], LEFT, 10.0)
    for _ in range(4):
        probe(table, records[0], now=29.0)
    assert len(table) == 4
    for _ in range(4):
        probe(table, records[0], now=31.0)
    assert [table.buried(record) for record in records] == [False, True, False, False]
    for _ in range(4):
        probe(table, records[0], now=41.0)
    assert [table.buried(record) for record in records] == [False, True, True, False]
    assert table.reachable == len(table) == 2
    assert len(list(table)) == 4


def test_the_buried_rise_by_being_alive_and_are_forgotten_otherwise() -> None:
    table, records = table_of(4)
    for record in records[1:3]:
        table.set_state(record, DEAD, 0.0)
    for _ in range(4):
        probe(table, records[0], now=31.0)
    table.set_state(records[1], ALIVE, 50.0)
    assert {probe(table, records[0], now=51.0) for _ in range(6)} == {"n1", "n3"}
    assert table.reachable == len(table) == 3
    for _ in range(4):
        probe(table, records[0], now=101.0)
    assert table.get("n2") is None
    assert table.get("n1") is records[1]


def test_the_buried_make_room_for_the_living() -> None:
    table = NodeTable(random.Random(1), 3, 1e9)
    records = [NodeRecord(f"n{index}", address(index), PORT) for index in range(5)]
    for record in records[:3]:
        table.add(record)
        table.set_state(record, ALIVE, 0.0)
    assert table.full
    table.set_state(records[1], DEAD, 0.0)
    table.set_state(records[2], LEFT, 0.0)
    for _ in range(3):
        probe(table, records[0], now=31.0)
    assert not table.full
    table.add(records[3])
    table.add(records[4])
    assert {record.name for record in table} == {"n0", "n3", "n4"}


def test_a_hastened_node_is_next_whether_or_not_it_had_its_turn() -> None:
    table, records = table_of(10)
    first = [probe(table, records[0]) for _ in range(4)]
    had, waiting = first[0], next(r.name for r in records[1:] if r.name not in first)
    for name in (had, waiting):
        record = table.get(str(name))
        assert record is not None
        table.hasten(record)
        assert probe(table, records[0]) == name


@pytest.mark.parametrize("count", [5, 200])
def test_a_sample_is_distinct_eligible_and_as_large_as_can_be(count: int) -> None:
    table, records = table_of(count)
    for record in records[3:]:
        table.set_state(record, DEAD, 0.0)
    for _ in range(20):
        sample = table.sample(3, lambda record: not record.gone)
        assert {record.name for record in sample} == {"n0", "n1", "n2"}


def test_samples_are_spread_over_all() -> None:
    table, _ = table_of(100)
    seen = Counter(record.name for _ in range(1000) for record in table.sample(3, lambda _: True))
    assert len(seen) == 100
    assert max(seen.values()) < 3 * min(seen.values())


def test_listeners_come_round_before_any_comes_again() -> None:
    table, records = table_of(10)
    own = records[0]
    heard: list[str] = []
    for _ in range(3):
        heard += [record.name for record in table.listeners(3, lambda record: record is not own)]
    assert sorted(heard) == sorted(record.name for record in records[1:])


def test_listeners_are_distinct_in_one_pick_and_fewer_only_if_there_are_no_more() -> None:
    table, records = table_of(5)
    for _ in range(50):
        picked = table.listeners(3, lambda record: record in records[:4])
        assert len({record.name for record in picked}) == 3
    assert len(table.listeners(3, lambda record: record in records[:2])) == 2
    assert table.listeners(3, lambda _: False) == []


def among_strangers() -> tuple[NodeTable, list[NodeRecord]]:
    """n0 to n4, and a thousand unbound ones."""
    table = NodeTable(random.Random(1), 2000, 100.0, lambda name: not name.startswith("n"))
    records = [NodeRecord(f"n{index}", address(index), PORT) for index in range(5)]
    records += [NodeRecord(f"x{index}", address(index % 200 + 5), PORT) for index in range(1000)]
    for record in records:
        table.add(record)
        table.set_state(record, ALIVE, 0.0)
    return table, records


def is_known(record: NodeRecord) -> bool:
    return record.name.startswith("n")


@pytest.mark.parametrize("way", ["probe", "sample", "listeners"])
def test_however_many_strangers_there_are_three_turns_of_four_are_for_those_who_are_vouched_for(
    way: str,
) -> None:
    table, records = among_strangers()

    def turn() -> list[NodeRecord]:
        if way == "probe":
            record = table.next_to_probe(records[0], 0.0, 30.0)
            return [record] if record is not None else []
        pick = table.sample if way == "sample" else table.listeners
        return pick(3, lambda record: record is not records[0])

    turns = [turn() for _ in range(400)]
    known = sum(all(map(is_known, picked)) for picked in turns)
    assert 270 <= known <= 340
    assert {record.name for picked in turns for record in picked} > {"n1", "n2", "n3", "n4"}


def test_where_nobody_is_vouched_for_every_turn_is_the_strangers() -> None:
    table, records = among_strangers()
    for record in records[1:5]:
        table.set_state(record, DEAD, 0.0)
    assert all(table.next_to_probe(records[0], 0.0, 30.0) for _ in range(20))
    assert all(len(table.listeners(3, lambda record: not is_known(record))) == 3 for _ in range(20))
