"""The timing formulas against the table of gossip-wire section 6."""

from __future__ import annotations

import pytest

from wgmesh_agent.gossip.memberlist.config import LAN, LOCAL, PROFILES, WAN, Profile
from wgmesh_agent.gossip.memberlist.suspicion import suspicion_timeout_seconds


@pytest.mark.parametrize(
    ("nodes", "lan", "wan", "retransmits", "push_pull"),
    [
        (3, (4, 24), (30, 180), 4, (30, 60)),
        (10, (4, 24), (30, 180), 8, (30, 60)),
        (30, (5.908, 35.448), (44.31, 265.86), 8, (30, 60)),
        (100, (8, 48), (60, 360), 12, (90, 180)),
        (1000, (12, 72), (90, 540), 16, (180, 360)),
    ],
)
def test_the_formulas_give_the_reference_table(
    nodes: int,
    lan: tuple[float, float],
    wan: tuple[float, float],
    retransmits: int,
    push_pull: tuple[float, float],
) -> None:
    for profile, (shortest, longest), interval in ((LAN, lan, push_pull[0]), (WAN, wan, push_pull[1])):
        assert profile.suspicion_min_seconds(nodes) == pytest.approx(shortest)
        assert profile.suspicion_max_seconds(nodes) == pytest.approx(longest)
        assert profile.retransmit_limit(nodes) == retransmits
        assert profile.push_pull_seconds(nodes) == interval


@pytest.mark.parametrize(
    ("profile", "nodes", "wanted"),
    [(LAN, 3, 0), (LAN, 4, 2), (LAN, 10, 2), (WAN, 5, 0), (WAN, 6, 4), (LOCAL, 2, 0), (LOCAL, 3, 1)],
)
def test_confirmations_are_wanted_only_where_enough_others_could_give_them(
    profile: Profile, nodes: int, wanted: int
) -> None:
    assert profile.expected_confirmations(nodes) == wanted


def test_with_nobody_to_confirm_a_suspicion_has_its_shortest_life_from_the_start() -> None:
    assert suspicion_timeout_seconds(4, 24, 0, LAN.expected_confirmations(3)) == 4


@pytest.mark.parametrize(("profile", "alive", "seconds"), [(LAN, 9, 3.2), (LAN, 10, 6.4), (WAN, 10, 16)])
def test_a_query_waits_sixteen_gossip_intervals_for_each_power_of_ten(
    profile: Profile, alive: int, seconds: float
) -> None:
    assert profile.query_timeout_seconds(alive) == pytest.approx(seconds)


def test_the_profiles_are_known_by_name() -> None:
    assert set(PROFILES) == {"lan", "wan", "local"}


@pytest.mark.parametrize("nodes", range(2, 10))
def test_below_ten_nodes_a_broadcast_is_sent_at_least_once_for_each_other(nodes: int) -> None:
    assert LAN.retransmit_limit(nodes) >= nodes - 1
    assert LOCAL.retransmit_limit(nodes) >= nodes - 1


@pytest.mark.parametrize(("nodes", "seconds"), [(32, 30), (33, 60), (64, 60), (65, 90), (5000, 270)])
def test_the_push_pull_interval_grows_by_one_for_each_doubling_past_32(nodes: int, seconds: float) -> None:
    assert LAN.push_pull_seconds(nodes) == seconds
