"""The roster as an agent keeps it: by list and watch, as it was while the API is away, whatever it cannot read."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.kube.harness import BOOTSTRAP, MemoryApi, mesh_body, node_body, node_path

from wgmesh_agent.kube import roster_cache as module
from wgmesh_agent.kube.api_client import meshes_path
from wgmesh_agent.kube.list_watch import Object
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.kube.roster_status import RosterStatus
from wgmesh_agent.runtime import borders
from wgmesh_api.roster import RosterNode, read_node

MESH = meshes_path("blue")


@pytest.fixture
def api() -> MemoryApi:
    api = MemoryApi()
    api.put(mesh_body())
    api.put(node_body())
    api.put(node_body("beta", 2))
    return api


@pytest.fixture
async def view(api: MemoryApi) -> RosterCache:
    view = RosterCache("blue", "alpha")
    view.start(api)
    return view


async def test_what_is_listed_is_known(view: RosterCache) -> None:
    assert view.synced
    assert set(view.nodes) == {"alpha", "beta"}
    assert view.bootstraps() == [BOOTSTRAP]
    assert view.status_of_node("uid-alpha") is RosterStatus.MEMBER


async def test_every_change_is_seen_and_told(api: MemoryApi, view: RosterCache) -> None:
    generation = view.changes.generation
    api.put(node_body("gamma", 3))
    assert "gamma" in view.nodes
    assert view.changes.generation > generation
    api.put(node_body("gamma", 3, deleting=True))
    assert view.nodes["gamma"].deleting
    api.remove(node_path("gamma"))
    assert "gamma" not in view.nodes


async def test_while_the_api_is_away_all_stays_as_it_was_and_a_list_tells_what_was_missed(
    api: MemoryApi, view: RosterCache
) -> None:
    api.away = True
    api.put(node_body("gamma", 3))
    api.lose(node_path("beta"))
    assert set(view.nodes) == {"alpha", "beta"}
    api.back()
    assert set(view.nodes) == {"alpha", "gamma"}


async def test_nothing_is_known_before_the_first_list(api: MemoryApi) -> None:
    api.away = True
    view = RosterCache("blue", "alpha")
    view.start(api)
    assert not view.synced
    assert view.status_of_node("uid-alpha") is RosterStatus.UNKNOWN
    api.back()
    assert view.status_of_node("uid-alpha") is RosterStatus.MEMBER


@pytest.mark.parametrize(
    "broken", [{"spec": {}}, {"spec": None}, {"spec": {"mesh": "blue"}}, {"metadata": {"name": "blue.alpha"}}]
)
@pytest.mark.parametrize("by_list", [True, False], ids=["listed", "watched"])
async def test_an_object_that_makes_no_sense_any_more_counts_as_it_did(
    api: MemoryApi, view: RosterCache, broken: dict[str, Any], by_list: bool
) -> None:
    api.away = by_list
    api.put({**node_body(), **broken})
    if by_list:
        api.back()
    assert view.status_of_node("uid-alpha") is RosterStatus.MEMBER
    assert view.own is not None
    assert str(view.own.addresses[0]) == "10.232.0.1"
    api.put(node_body(deleting=True))
    assert view.status_of_node("uid-alpha") is RosterStatus.DELETED


@pytest.mark.parametrize("by_list", [True, False], ids=["listed", "watched"])
async def test_an_object_whose_reader_fails_leaves_the_others(
    api: MemoryApi, view: RosterCache, monkeypatch: pytest.MonkeyPatch, by_list: bool
) -> None:
    def read_all_but_gamma(body: Object) -> RosterNode:
        if body["spec"]["node"] == "gamma":
            raise OverflowError("date value out of range")
        return read_node(body)

    monkeypatch.setattr(module, "read_node", read_all_but_gamma)
    api.away = by_list
    api.put(node_body("gamma", 3))
    api.put(node_body("delta", 4))
    if by_list:
        api.back()
    assert set(view.nodes) == {"alpha", "beta", "delta"}
    assert view.contains("gamma")
    assert view.unreadable == 1
    assert borders.rejected()["roster object", "unreadable"] >= 1


async def test_age_is_that_of_the_older_watch_and_none_before_both_have_listed(api: MemoryApi) -> None:
    api.away = True
    view = RosterCache("blue", "alpha")
    assert view.age_seconds is None
    view.start(api)
    assert view.age_seconds is None
    api.back()
    assert view.age_seconds is not None


async def test_an_object_that_never_made_sense_is_not_one_that_is_gone(api: MemoryApi) -> None:
    api.put({**node_body(), "spec": {}})
    view = RosterCache("blue", "alpha")
    view.start(api)
    assert view.status_of_node("uid-alpha") is RosterStatus.UNCERTAIN
    assert view.contains("alpha")
    assert not view.contains("nobody")


async def test_an_unreadable_object_that_is_deleted_is_gone(api: MemoryApi, view: RosterCache) -> None:
    api.put({**node_body("beta", 2), "spec": {}})
    assert "beta" in view.nodes
    api.remove(node_path("beta"))
    assert not view.contains("beta")


async def test_a_mesh_that_makes_no_sense_any_more_counts_as_it_did(
    api: MemoryApi, view: RosterCache
) -> None:
    broken = mesh_body()
    broken["metadata"]["uid"] = ""
    api.put(broken)
    assert view.mesh is not None
    assert not view.mesh_gone
    api.remove(MESH)
    assert view.mesh is None
    assert view.mesh_gone


async def test_another_mesh_s_member_is_none_of_ours_whatever_its_label(
    view: RosterCache, api: MemoryApi
) -> None:
    api.put(node_body("zeta", 9, mesh="green"))
    assert "zeta" not in view.nodes


class Counted(dict[str, Any]):
    """Counts complete iterations."""

    walks = 0

    def values(self) -> Any:
        self.walks += 1
        return super().values()

    def items(self) -> Any:
        self.walks += 1
        return super().items()

    def __iter__(self) -> Any:
        self.walks += 1
        return super().__iter__()


async def test_a_change_of_one_member_walks_no_other(api: MemoryApi, view: RosterCache) -> None:
    view.nodes = counted = Counted(view.nodes)
    view.drain_changed()
    api.put(node_body("beta", 2, status={"phase": "Joined"}))
    api.put(node_body("gamma", 3))
    api.remove(node_path("beta"))
    assert view.nodes is counted
    assert counted.walks == 0
    assert view.drain_changed() == {"beta", "gamma"}
    assert not view.drain_changed()
