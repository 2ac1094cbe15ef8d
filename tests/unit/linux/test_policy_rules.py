"""Where a mesh's routing rules stand among those of the host."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.linux.policy_rules import (
    FIRST_PRIORITY,
    MAX_MESHES,
    PRIORITIES_PER_MESH,
    Foreign,
    Rule,
    first_priority_of,
    routing_table_of,
    wanted_rules,
)
from wgmesh_agent.wireguard.model import InterfaceSpec, Route

TABLE = routing_table_of("wglab")
PLAIN = (Foreign(0), Foreign(32766, main=True), Foreign(32767))


def spec(version: int = 4) -> InterfaceSpec:
    own, mesh, behind, announced = {
        4: ("10.1.0.3/32", "10.1.0.0/16", "192.168.7.0/24", "192.168.8.0/24"),
        6: ("fd00::3/128", "fd00::/64", "fd07::/64", "fd08::/64"),
    }[version]
    return InterfaceSpec(
        "wglab",
        (ip_interface(own),),
        (ip_network(mesh),),
        1420,
        subnet_routes=(Route(ip_network(behind)),),
        local_networks=(ip_network(announced),),
        port=51820,
    )


def rules(*host: Rule | Foreign, version: int = 4) -> list[Rule]:
    return list(wanted_rules(spec(version), version, host))


def test_every_rule_bears_the_number_of_the_mesh_s_table() -> None:
    for version in (4, 6):
        assert all(TABLE in (one.table, one.tag) for one in rules(*PLAIN, version=version))


def test_only_packets_of_the_mesh_or_without_a_source_are_looked_up_in_its_table() -> None:
    looked_up = {
        (one.source, one.local, one.finds) for one in rules(*PLAIN) if one.action == 1 and not one.tag
    }
    assert looked_up == {
        ("10.1.0.3/32", False, False),
        ("192.168.8.0/24", False, False),
        ("0.0.0.0/32", True, False),
    }
    six = {
        (one.source, one.local, one.finds)
        for one in rules(*PLAIN, version=6)
        if one.action == 1 and not one.tag
    }
    assert six == {("fd00::3/128", False, False), ("fd08::/64", False, False), ("fd00::3/128", True, True)}


def test_a_priority_that_others_have_means_the_next_free_ones() -> None:
    first = first_priority_of("wglab")
    assert rules(*PLAIN)[0].priority == first
    taken = [Foreign(first + 1), Foreign(first + PRIORITIES_PER_MESH + 2)]
    assert rules(*PLAIN, *taken)[0].priority == first + 2 * PRIORITIES_PER_MESH


def test_rules_stay_where_they_are_while_nobody_else_is_there() -> None:
    stand = Rule(FIRST_PRIORITY + 702, 3, TABLE)
    assert rules(*PLAIN, stand)[0].priority == FIRST_PRIORITY + 700
    assert (
        rules(*PLAIN, stand, Foreign(FIRST_PRIORITY + 701))[0].priority
        == FIRST_PRIORITY + 700 + PRIORITIES_PER_MESH
    )


def test_packets_without_a_source_are_looked_up_right_before_the_main_table() -> None:
    late = [one for one in rules(Foreign(0), Foreign(17000, main=True)) if one.local]
    assert [(one.priority, one.table) for one in late] == [(16999, 254), (16999, TABLE)]
    assert late[0].no_default


def test_where_the_main_table_s_default_route_is_left_out_first_they_come_right_behind_that() -> None:
    """As wg-quick does where it takes all packets for itself."""
    quick = (Foreign(32764, main=True, no_default=True), Foreign(32765), Foreign(32766, main=True))
    late = [one for one in rules(Foreign(0), *quick) if one.local]
    assert [(one.priority, one.table) for one in late] == [(32764, TABLE)]


def test_where_nobody_looks_at_the_main_table_these_rules_do_not_either() -> None:
    assert not [one for one in rules(Foreign(0), Foreign(5000)) if one.table == 254]


@given(
    st.lists(st.builds(Foreign, st.integers(0, 2**32 - 1), st.booleans()), max_size=30),
    st.sampled_from((4, 6)),
)
def test_on_any_host_each_jump_goes_forward_to_a_rule_of_ours(host: list[Foreign], version: int) -> None:
    found = rules(*sorted(host, key=lambda one: one.priority), version=version)
    ends = {one.priority for one in found if one.action == 3}
    for jump in (one for one in found if one.action == 2):
        assert jump.target > jump.priority
        assert jump.target in ends
    assert all(0 <= one.priority <= 2**32 - 1 for one in found)
    assert FIRST_PRIORITY + MAX_MESHES * PRIORITIES_PER_MESH < 32764
