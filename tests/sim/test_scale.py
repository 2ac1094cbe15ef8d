"""Some hundred nodes: as fast as the formulas, and no live node is considered dead. `make bench` has thousands."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.sim.formulas import detection_seconds, storm_seconds
from tests.sim.grown import grow
from tests.sim.simulator import Simulator

from wgmesh_agent.gossip.memberlist.config import LAN, Profile
from wgmesh_agent.gossip.serf.events import MemberFailed
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus

SIZE = 200


def test_a_storm_of_joins_is_over_within_the_formula() -> None:
    simulator = Simulator(4)
    simulator.cluster(100)
    limit = 1.2 * storm_seconds(LAN, 100)
    simulator.run_until(simulator.all_alive, limit, "everybody sees everybody")


@pytest.mark.slow
def test_a_grown_cluster_is_whole_finds_the_dead_by_the_formula_and_spares_the_living() -> None:
    simulator = Simulator(5)
    nodes = grow(simulator, SIZE)
    assert simulator.all_alive()
    simulator.run(10.0)
    sent = sum(node.core.counters.datagrams_out for node in nodes)
    assert 1.8 * SIZE * 10 < sent < 2.5 * SIZE * 10, "a ping and an ack a second, at any size"
    simulator.kill(nodes[3])
    living = simulator.running()
    took = simulator.run_until(
        lambda: all(node.statuses()["n3"] is MemberStatus.FAILED for node in living), 60, "n3 failed"
    )
    assert LAN.suspicion_min_seconds(SIZE) < took < 1.5 * detection_seconds(LAN, SIZE)
    for node in nodes:
        node.log.clear()
    simulator.with_weather(loss=0.1)
    simulator.run(20.0)
    assert not any(node.heard(MemberFailed) for node in living)


def test_members_that_handle_messages_late_call_far_fewer_of_the_well_failed_than_without_lifeguard() -> None:
    plain = replace(LAN, awareness_max_multiplier=1, suspicion_max_timeout_mult=1)
    with_it, without = (_called_failed_by_the_slow(profile) for profile in (LAN, plain))
    assert without > 10 > with_it


def _called_failed_by_the_slow(profile: Profile) -> int:
    simulator = Simulator(6, profile=profile)
    nodes = grow(simulator, 32)
    slow, well = nodes[:2], {node.name for node in nodes[2:]}
    for _ in range(2):
        simulator.run(0.25)
        for node in slow:
            simulator.stall(node, 16.0)
        simulator.run(16.0)
    return sum(event.member.name in well for node in nodes for event in node.heard(MemberFailed))
