from __future__ import annotations

import pytest
from tests.unit.operator.harness import MemoryApi, cluster_of, external_body, node_body, settle

from wgmesh_operator.decisions.membership.live_members import live_members


@pytest.fixture
def api() -> MemoryApi:
    api = cluster_of()
    settle(api)
    for number in range(3):
        api.report_ready(f"blue.n{number}", 2)
    return api


def live(api: MemoryApi) -> set[str]:
    return set(live_members("blue", api.state()))


def test_joined_members_on_ready_nodes_are_live(api: MemoryApi) -> None:
    assert live(api) == {"n0", "n1", "n2"}


def test_member_that_has_not_joined_is_not_live(api: MemoryApi) -> None:
    api.report("blue.n1", phase="Pending")
    assert live(api) == {"n0", "n2"}


def test_member_of_a_node_that_is_down_or_gone_is_not_live(api: MemoryApi) -> None:
    api.put(node_body("n0", ready=False))
    api.remove("Node", "n1")
    assert live(api) == {"n2"}


def test_external_member_is_not_live_even_if_it_has_a_node_s_name(api: MemoryApi) -> None:
    api.put(external_body(node="laptop"))
    api.put(node_body("laptop"))
    api.report("blue.laptop", phase="Joined")
    assert live(api) == {"n0", "n1", "n2"}


def test_mesh_without_members_has_no_live_ones(api: MemoryApi) -> None:
    assert live_members("red", api.state()) == {}
