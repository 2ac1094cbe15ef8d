"""Objects from the API server, with any admitted content: an invalid one affects only itself, in operator and
agents.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.odd_values import fuzzed, fuzzed_by, objects_like, odd_likes
from tests.unit.operator.harness import (
    DEPLOYMENT,
    NAMESPACE,
    MemoryApi,
    cluster_of,
    entropy,
    external_body,
    mesh_body,
    settle,
)

from wgmesh_api.fields import UnreadableObject
from wgmesh_api.roster import read_mesh, read_node
from wgmesh_operator.api_resources import WatchedResource
from wgmesh_operator.cluster_cache import ClusterCache
from wgmesh_operator.decisions.plan import plan_mesh


def settled() -> MemoryApi:
    """A cluster of three nodes and an external machine, with the meshes blue and red, all reported ready."""
    api = cluster_of(3)
    api.put(external_body("blue", "laptop"))
    api.put(
        mesh_body(
            "red",
            cidrs=["10.240.0.0/16"],
            wireguard={"port": 54541},
            bootstrap={"port": 5001},
            agent={"metricsPort": 9587},
        )
    )
    for mesh in ("blue", "red"):
        settle(api, mesh)
        for number in range(3):
            api.report_ready(f"{mesh}.n{number}", 2)
        settle(api, mesh)
    return api


API = settled()
LISTED: dict[WatchedResource, list[dict[str, Any]]] = {
    watched: json.loads(json.dumps(API.list_all(watched)[0])) for watched in WatchedResource
}
VERSIONS = {watched: API.list_all(watched)[1] for watched in WatchedResource}
PLACES = [
    (watched, number)
    for watched in (WatchedResource.MESHES, WatchedResource.MEMBERS, WatchedResource.REQUESTS)
    for number in range(len(LISTED[watched]))
]
"""Objects of others than the API server's own controllers, and the operator itself."""


def restored(body: Any, original: dict[str, Any]) -> Any:
    """`body` with the fields that no client can spoil."""
    if not isinstance(body, dict):
        return copy.deepcopy(original)
    return {**body, "kind": original["kind"], "metadata": copy.deepcopy(original["metadata"])}


def _placed(number: int, body: Any) -> tuple[WatchedResource, int, Any]:
    watched, at = PLACES[number]
    return watched, at, restored(body, LISTED[watched][at])


odd_objects = odd_likes(*(LISTED[watched][number] for watched, number in PLACES)).map(
    lambda like: _placed(*like)
)


class Kept:
    """A store of all objects, some of which are invalid for the duration of a plan: only those are read again."""

    def __init__(self) -> None:
        self._store = ClusterCache(NAMESPACE, lambda _names: None)
        for watched in WatchedResource:
            self._store.replace_from_list(watched, LISTED[watched], VERSIONS[watched])
        self._version = 1 << 40

    def planned(self, meshes: Sequence[str], odd: list[tuple[WatchedResource, int, Any]]) -> list[Any]:
        """The plan of each mesh, if the operator sees the invalid objects as the first ones of their names."""
        for watched, number, body in odd:
            self._first_seen(watched, LISTED[watched][number], body)
        plans = [plan_mesh(mesh, self._store.state, DEPLOYMENT, API.now, entropy()) for mesh in meshes]
        for watched, number, _ in odd:
            self._first_seen(watched, LISTED[watched][number], LISTED[watched][number])
        assert self._store.state.unreadable == ()
        return plans

    def _first_seen(self, watched: WatchedResource, original: dict[str, Any], body: dict[str, Any]) -> None:
        self._version += 1
        self._store.remove(watched, original["metadata"]["name"])
        metadata = {**original["metadata"], "resourceVersion": str(self._version)}
        self._store.put(watched, {**body, "metadata": metadata})


KEPT = Kept()


def belongs_to(mesh: str, body: Any) -> bool:
    return mesh in json.dumps(body.get("spec", ""), default=str) or mesh in str(body["metadata"]["name"])


UNTOUCHED = KEPT.planned(["red"], [])[0].actions


@given(st.lists(odd_objects, min_size=2, max_size=3))
@fuzzed_by(2)
def test_the_operator_plans_whatever_objects_are_like(odd: list[tuple[WatchedResource, int, Any]]) -> None:
    KEPT.planned(["blue", "red"], odd)


@given(odd_objects)
@fuzzed
def test_an_odd_object_of_one_mesh_leaves_the_other_alone(odd: tuple[WatchedResource, int, Any]) -> None:
    watched, number, body = odd
    if belongs_to("red", LISTED[watched][number]) or belongs_to("red", body):
        return
    # A mesh may claim another's range by its own spec: then both are reported.
    if watched is WatchedResource.MESHES:
        body = {**body, "spec": LISTED[watched][number]["spec"]}
    (plan,) = KEPT.planned(["red"], [(watched, number, body)])
    assert plan.actions == UNTOUCHED


@given(objects_like(*LISTED[WatchedResource.MESHES]))
@fuzzed
def test_a_mesh_is_read_or_unreadable(body: Any) -> None:
    try:
        mesh = read_mesh(body)
    except UnreadableObject:
        return
    assert mesh.name


@given(objects_like(*LISTED[WatchedResource.MEMBERS]))
@fuzzed
def test_a_member_is_read_or_unreadable(body: Any) -> None:
    try:
        node = read_node(body)
    except UnreadableObject:
        return
    assert node.name
