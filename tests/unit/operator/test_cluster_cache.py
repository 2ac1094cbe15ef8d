from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tests.unit.operator.harness import NAMESPACE, csr_body, mesh_body, node_body

from wgmesh_operator.api_resources import WatchedResource
from wgmesh_operator.cluster_cache import ClusterCache

Json = dict[str, Any]


class Marks:
    def __init__(self) -> None:
        self.names: set[str] = set()

    def __call__(self, names: Iterable[str]) -> None:
        self.names.update(names)

    def taken(self) -> set[str]:
        taken, self.names = self.names, set()
        return taken


@pytest.fixture
def marks() -> Marks:
    return Marks()


@pytest.fixture
def store(marks: Marks) -> ClusterCache:
    return ClusterCache(NAMESPACE, marks)


def versioned(body: Json, version: int, **metadata: Any) -> Json:
    more = {"resourceVersion": str(version), "uid": "u", "generation": 1} | metadata
    return body | {"metadata": body["metadata"] | more}


def member(name: str = "n0", mesh: str = "blue", **status: Any) -> Json:
    return {
        "metadata": {"name": f"{mesh}.{name}", "creationTimestamp": "2030-01-01T00:00:00Z"},
        "spec": {"mesh": mesh, "node": name},
        "status": status,
    }


def labelled(name: str, mesh: str = "blue") -> Json:
    return {"metadata": {"name": name, "labels": {"wgmesh.dev/mesh": mesh}}, "data": {"a": "Yg=="}}


def test_what_is_told_late_does_not_undo_what_is_known(store: ClusterCache) -> None:
    assert store.put(WatchedResource.MEMBERS, versioned(member(phase="Joined"), 10))
    assert not store.put(WatchedResource.MEMBERS, versioned(member(phase="Pending"), 9))
    assert not store.put(WatchedResource.MEMBERS, versioned(member(phase="Pending"), 10))
    assert store.state.members["blue"]["n0"].roster.report.phase == "Joined"


def test_what_is_gone_does_not_come_back_by_a_late_answer(store: ClusterCache) -> None:
    store.put(WatchedResource.MEMBERS, versioned(member(), 10))
    store.remove(WatchedResource.MEMBERS, "blue.n0", versioned(member(), 12))
    assert not store.put(WatchedResource.MEMBERS, versioned(member(), 11))
    assert store.state.members == {}
    assert store.put(WatchedResource.MEMBERS, versioned(member(), 13))


def test_a_late_farewell_does_not_remove_a_namesake(store: ClusterCache) -> None:
    store.put(WatchedResource.MEMBERS, versioned(member(), 20))
    store.remove(WatchedResource.MEMBERS, "blue.n0", versioned(member(), 15))
    assert "n0" in store.state.members["blue"]


def test_events_that_come_before_the_answer_are_remembered(store: ClusterCache) -> None:
    store.remove(WatchedResource.MEMBERS, "blue.n0", versioned(member(), 15))
    assert not store.put(WatchedResource.MEMBERS, versioned(member(), 14))


def test_a_list_tells_what_the_watch_has_missed(store: ClusterCache, marks: Marks) -> None:
    store.put(WatchedResource.MEMBERS, versioned(member("n0"), 1))
    store.put(WatchedResource.MEMBERS, versioned(member("n1"), 2))
    store.put(WatchedResource.MEMBERS, versioned(member("n9"), 50))
    listed = [versioned(member("n1"), 3), versioned(member("n2"), 4)]
    marks.taken()
    assert store.replace_from_list(WatchedResource.MEMBERS, listed, "40") == 3
    # n9 was made after the list was
    assert set(store.state.members["blue"]) == {"n1", "n2", "n9"}
    assert marks.taken() == {"blue"}
    assert store.replace_from_list(WatchedResource.MEMBERS, listed, "40") == 0


def test_a_list_of_one_sort_leaves_others_alone(store: ClusterCache) -> None:
    store.put(WatchedResource.MEMBERS, versioned(member(), 1))
    store.replace_from_list(WatchedResource.SECRETS, [], "100")
    assert store.state.members["blue"]


def test_members_mark_their_mesh_if_they_changed(store: ClusterCache, marks: Marks) -> None:
    store.put(WatchedResource.MEMBERS, versioned(member(phase="Pending"), 1))
    assert marks.taken() == {"blue"}
    store.put(WatchedResource.MEMBERS, versioned(member(phase="Pending"), 2))
    assert marks.taken() == set()
    assert store.state.members["blue"]["n0"].resource_version == "2"
    store.put(WatchedResource.MEMBERS, versioned(member(phase="Joined"), 3))
    assert marks.taken() == {"blue"}


def test_a_nodes_heartbeat_marks_nobody_its_readiness_all(store: ClusterCache, marks: Marks) -> None:
    store.put(WatchedResource.MESHES, versioned(mesh_body("blue"), 1))
    store.put(WatchedResource.MESHES, versioned(mesh_body("red"), 2))
    store.put(WatchedResource.NODES, versioned(node_body("n0"), 3))
    marks.taken()
    store.put(WatchedResource.NODES, versioned(node_body("n0"), 4))
    assert marks.taken() == set()
    store.put(WatchedResource.NODES, versioned(node_body("n0", ready=False), 5))
    assert marks.taken() == {"blue", "red"}
    store.remove(WatchedResource.NODES, "n0")
    assert marks.taken() == {"blue", "red"}


def test_a_meshs_new_spec_is_others_business_its_status_is_not(store: ClusterCache, marks: Marks) -> None:
    store.put(WatchedResource.MESHES, versioned(mesh_body("blue"), 1))
    store.put(WatchedResource.MESHES, versioned(mesh_body("red"), 2))
    marks.taken()
    store.put(WatchedResource.MESHES, versioned(mesh_body("red") | {"status": {"nodes": "1/1"}}, 3))
    assert marks.taken() == {"red"}
    store.put(WatchedResource.MESHES, versioned(mesh_body("red"), 4, generation=2))
    assert marks.taken() == {"blue", "red"}
    store.remove(WatchedResource.MESHES, "red")
    assert marks.taken() == {"blue", "red"}


@pytest.mark.parametrize("watched", [WatchedResource.SECRETS, WatchedResource.DAEMON_SETS])
def test_what_belongs_to_a_mesh_marks_it(store: ClusterCache, marks: Marks, watched: WatchedResource) -> None:
    store.put(watched, versioned(labelled("x"), 1))
    assert marks.taken() == {"blue"}
    store.remove(watched, "x")
    assert marks.taken() == {"blue"}


def test_open_requests_mark_the_mesh_of_their_account(store: ClusterCache, marks: Marks) -> None:
    store.put(WatchedResource.REQUESTS, versioned(csr_body("a"), 1))
    assert marks.taken() == {"blue"}
    store.put(WatchedResource.REQUESTS, versioned(csr_body("b", account="somebody"), 2))
    assert marks.taken() == {""}
    denied = csr_body("a") | {"status": {"conditions": [{"type": "Denied"}]}}
    store.put(WatchedResource.REQUESTS, versioned(denied, 3))
    assert marks.taken() == set()
    store.remove(WatchedResource.REQUESTS, "a")
    store.remove(WatchedResource.REQUESTS, "b")
    assert store.state.requests == {}


def test_an_object_that_cannot_be_read_harms_no_other(store: ClusterCache) -> None:
    broken = {"metadata": {"name": "blue.x"}, "spec": {}}
    assert not store.put(WatchedResource.MEMBERS, versioned(broken, 1))
    assert store.put(WatchedResource.MEMBERS, versioned(member(), 2))


class Odd(Exception):
    """Of no family that handlers catch."""


class OddStatus(dict[str, Any]):
    def get(self, *_: Any) -> Any:
        raise Odd("a status that cannot be read")


def test_an_object_that_cannot_be_read_is_listed_with_the_reason_until_it_can(
    store: ClusterCache, marks: Marks
) -> None:
    store.put(WatchedResource.MESHES, versioned(mesh_body("blue"), 1))
    store.put(WatchedResource.MEMBERS, versioned(member("n1"), 2))
    marks.taken()
    nameless = versioned(member("n1"), 3) | {"spec": {"mesh": "blue"}}
    assert not store.put(WatchedResource.MEMBERS, nameless)
    (unreadable,) = store.state.unreadable
    assert (unreadable.kind, unreadable.name, unreadable.mesh) == ("WgMeshNode", "blue.n1", "blue")
    assert "the object has no node" in str(unreadable)
    assert store.state.unread("WgMeshNode") == {"blue.n1"}
    assert "n1" in store.state.members["blue"]
    assert marks.taken() == {"blue"}
    assert not store.put(WatchedResource.MEMBERS, nameless)
    assert marks.taken() == set()
    assert store.put(WatchedResource.MEMBERS, versioned(member("n1"), 4))
    assert store.state.unreadable == ()
    assert marks.taken() == {"blue"}


def test_an_object_that_was_never_read_is_forgotten_with_it(store: ClusterCache) -> None:
    store.replace_from_list(
        WatchedResource.NODES, [versioned({"metadata": {"name": "n0"}, "spec": OddStatus()}, 1)], "1"
    )
    assert store.state.unread("Node") == {"n0"}
    store.replace_from_list(WatchedResource.NODES, [], "2")
    assert store.state.unreadable == ()
    store.replace_from_list(
        WatchedResource.NODES, [versioned({"metadata": {"name": "n0"}, "spec": OddStatus()}, 3)], "3"
    )
    store.remove(WatchedResource.NODES, "n0")
    assert store.state.unreadable == ()


def test_an_odd_status_leaves_what_the_operator_wrote(store: ClusterCache) -> None:
    odd = versioned(member("n0"), 1)
    assert store.put(WatchedResource.MEMBERS, odd | {"status": OddStatus()})
    assert store.state.members["blue"]["n0"].roster.report.phase == ""
    (unreadable,) = store.state.unreadable
    assert str(unreadable).startswith("the status of WgMeshNode blue.n0 cannot be read: Odd: ")
    assert store.state.unread("WgMeshNode") == frozenset()


@pytest.mark.parametrize("watched", WatchedResource)
def test_of_a_list_with_an_odd_object_the_rest_counts(store: ClusterCache, watched: WatchedResource) -> None:
    bodies = {
        WatchedResource.MESHES: [mesh_body("blue"), mesh_body("red")],
        WatchedResource.MEMBERS: [member("n0"), member("n1")],
        WatchedResource.NODES: [node_body("n0"), node_body("n1")],
        WatchedResource.REQUESTS: [csr_body("a"), csr_body("b")],
        WatchedResource.SECRETS: [labelled("a"), labelled("b")],
        WatchedResource.DAEMON_SETS: [labelled("a"), labelled("b")],
    }[watched]
    odd, whole = versioned(bodies[0], 1), versioned(bodies[1], 2)
    odd = odd | {"metadata": OddStatus(odd["metadata"])}
    assert store.replace_from_list(watched, [odd, {"metadata": 5}, whole], "2") == 1
    assert store.version(watched, whole["metadata"]["name"]) == 2


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1969-12-31T23:59:59Z", "²"]
)
@pytest.mark.parametrize("field", ["publicKeySince", "certificateNotAfter", "lastChange"])
def test_an_odd_moment_costs_that_field_alone(store: ClusterCache, moment: str, field: str) -> None:
    assert store.put(WatchedResource.MEMBERS, versioned(member(phase="Joined", **{field: moment}), 1))
    report = store.state.members["blue"]["n0"].roster.report
    assert report.phase == "Joined"
    assert (report.public_key_since, report.certificate_not_after, report.last_change) == (None, None, None)
    assert store.state.unreadable == ()


def test_versions_are_numbers_not_words(store: ClusterCache) -> None:
    store.put(WatchedResource.MEMBERS, versioned(member(phase="a"), 9))
    assert store.put(WatchedResource.MEMBERS, versioned(member(phase="b"), 10))
