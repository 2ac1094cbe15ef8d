"""What a WgMesh says of itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.operator.harness import NOW, MemoryApi, cluster_of, condition, node_body, settle

from wgmesh_api.fields import write_time
from wgmesh_operator.decisions.status.conditions import STARTUP_GRACE
from wgmesh_operator.decisions.status.status_debounce import MIN_WRITE_INTERVAL, next_write_at


@pytest.fixture
def api() -> MemoryApi:
    api = cluster_of()
    settle(api)
    for number in range(3):
        api.report_ready(f"blue.n{number}", 2)
    settle(api)
    return api


def status(api: MemoryApi) -> dict[str, Any]:
    body = api.get("WgMesh", "blue")
    assert body is not None
    found: dict[str, Any] = body["status"]
    return found


def told(api: MemoryApi) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status(api)["conditions"]}


def kill_node(api: MemoryApi, name: str) -> None:
    body = api.get("Node", name)
    assert body is not None
    address = body["status"]["addresses"][0]["address"]
    api.put(node_body(name, address, ready=False, changed=api.now))


def test_a_whole_mesh_is_ready_and_fully_meshed(api: MemoryApi) -> None:
    assert (status(api)["nodes"], status(api)["links"]) == ("3/3", "6/6")
    assert told(api) == {
        "Ready": ("True", "NodesJoined"),
        "CertificatesReady": ("True", "CertificatesIssued"),
        "FullyMeshed": ("True", "AllLinksUp"),
        "Degraded": ("False", "AsExpected"),
        "MTUMismatch": ("False", "PathMTUSufficient"),
    }
    assert status(api)["creationTime"] == status(api)["firstMeshedTime"] == write_time(NOW)
    assert status(api)["createdAt"] == int(NOW.timestamp())
    assert status(api)["observedGeneration"] == 1


def test_a_link_not_heard_is_counted_and_named(api: MemoryApi) -> None:
    api.report_ready("blue.n0", 1, unreachablePeers=[{"node": "n2", "problem": "no probe for 12s"}])
    settle(api)
    assert status(api)["links"] == "5/6"
    assert status(api)["downLinks"] == ["n0 -> n2: no probe for 12s"]
    assert told(api)["FullyMeshed"] == ("False", "LinksDown")
    assert condition(api, "FullyMeshed")["message"] == "1 links are down: n0 -> n2: no probe for 12s"
    assert told(api)["Ready"] == ("True", "NodesJoined")
    api.report_ready("blue.n0", 2)
    settle(api)
    assert told(api)["FullyMeshed"] == ("True", "AllLinksUp")


def test_narrow_paths_are_told_and_that_they_are_wide_again(api: MemoryApi) -> None:
    assert told(api)["MTUMismatch"] == ("False", "PathMTUSufficient")
    api.events.clear()
    api.report_ready("blue.n0", 2, mtu=1440, reducedMTUPaths=7, lowestMTUPaths=[{"node": "n2", "mtu": 1216}])
    settle(api)
    assert told(api)["MTUMismatch"] == ("True", "PathMTUReduced")
    message = condition(api, "MTUMismatch")["message"]
    assert (
        message
        == "the path MTU to 7 peers is below the interface MTU: n0 -> n2: 1216 of 1440 bytes and 6 more"
    )
    assert told(api)["Degraded"] == ("False", "AsExpected")
    assert told(api)["FullyMeshed"] == ("True", "AllLinksUp")
    api.report_ready("blue.n0", 2)
    settle(api)
    assert told(api)["MTUMismatch"] == ("False", "PathMTUSufficient")
    assert [(event.reason, event.warning) for event in api.events] == [
        ("PathMTUReduced", False),
        ("PathMTUSufficient", False),
    ]


def test_links_through_a_relay_count_and_are_said(api: MemoryApi) -> None:
    for name in ("n0", "n2"):
        api.report_ready(f"blue.{name}", 2, relayedPeers=1)
    settle(api)
    assert status(api)["links"] == "6/6"
    assert told(api)["FullyMeshed"] == ("True", "AllLinksUp")
    assert condition(api, "FullyMeshed")["message"] == "6 of 6 links, 2 of them via a relay"


def test_the_report_of_a_dead_node_is_history(api: MemoryApi) -> None:
    kill_node(api, "n2")
    api.report_ready("blue.n0", 1)
    api.report_ready("blue.n1", 1)
    settle(api)
    assert (status(api)["nodes"], status(api)["links"]) == ("2/3", "2/6")
    assert told(api)["FullyMeshed"] == ("False", "NodesDown")
    assert told(api)["Degraded"] == ("True", "NodesDown")
    assert told(api)["Ready"] == ("True", "NodesJoined")


def test_a_live_node_that_has_not_joined_is_waited_for(api: MemoryApi) -> None:
    api.put(node_body("n3", "192.0.2.9"))
    settle(api)
    assert told(api)["Ready"] == ("False", "NodesJoining")
    assert condition(api, "Ready")["message"] == "3 of 4 have joined; waiting for n3"
    assert told(api)["CertificatesReady"] == ("False", "CertificatesPending")


def test_no_living_bootstrap_node_is_told(api: MemoryApi) -> None:
    for body in api.of_kind("WgMeshNode"):
        if body["spec"]["bootstrap"]:
            kill_node(api, body["spec"]["node"])
    settle(api)
    assert told(api)["Ready"] == ("False", "NoBootstrap")


def test_few_bootstraps_are_told(api: MemoryApi) -> None:
    first = min(b["spec"]["node"] for b in api.of_kind("WgMeshNode") if b["spec"]["bootstrap"])
    ready = [{"type": "Ready", "status": "False", "reason": "Serving"}]
    api.report_ready(f"blue.{first}", 2, conditions=ready, phase="Joined")
    settle(api)
    assert told(api)["Ready"] == ("False", "NodesJoining")
    assert told(api)["Degraded"] == ("True", "BootstrapsBelowDesired")


def test_expired_certificates_are_told(api: MemoryApi) -> None:
    api.report_ready("blue.n1", 2, certificateNotAfter=write_time(NOW - timedelta(seconds=1)))
    settle(api)
    assert told(api)["CertificatesReady"] == ("False", "CertificatesExpired")
    assert told(api)["Degraded"] == ("True", "CertificatesExpired")


def test_agents_that_do_not_run_are_told(api: MemoryApi) -> None:
    body = api.get("DaemonSet", "wgmesh-blue")
    assert body is not None
    body["status"] = {"numberReady": 2, "desiredNumberScheduled": 3}
    settle(api)
    assert told(api)["Degraded"] == ("True", "AgentsNotReady")
    assert condition(api, "Degraded")["message"] == "2 of 3 agents are ready"


def test_a_mesh_of_no_nodes_says_so() -> None:
    api = cluster_of(3, nodeSelector={"none": "such"})
    settle(api)
    assert told(api)["Ready"] == ("False", "NoNodes")
    assert (status(api)["nodes"], status(api)["links"]) == ("0/0", "0/0")


def test_a_mesh_of_one_is_whole() -> None:
    api = cluster_of(1)
    settle(api)
    api.report_ready("blue.n0", 0)
    settle(api)
    assert (status(api)["nodes"], status(api)["links"]) == ("1/1", "0/0")
    assert told(api)["FullyMeshed"] == ("True", "AllLinksUp")
    assert told(api)["Degraded"] == ("False", "AsExpected")


def test_a_condition_keeps_its_time_until_its_status_changes(api: MemoryApi) -> None:
    since = condition(api, "FullyMeshed")["lastTransitionTime"]
    api.now += timedelta(minutes=5)
    settle(api)
    assert condition(api, "FullyMeshed")["lastTransitionTime"] == since
    api.report_ready("blue.n0", 1)
    settle(api)
    assert condition(api, "FullyMeshed")["lastTransitionTime"] == write_time(api.now)


def test_a_new_mesh_is_given_two_minutes_before_anybody_is_alarmed() -> None:
    api = cluster_of()
    settle(api)
    for number in range(3):
        api.report_ready(f"blue.n{number}", 1)
    body = api.get("DaemonSet", "wgmesh-blue")
    assert body is not None
    body["status"] = {"numberReady": 2, "desiredNumberScheduled": 3}
    settle(api)
    assert told(api)["FullyMeshed"] == ("False", "LinksPending")
    assert told(api)["Degraded"] == ("False", "AsExpected")
    assert [event.reason for event in api.events if event.warning] == []
    api.now += STARTUP_GRACE
    settle(api)
    assert told(api)["FullyMeshed"] == ("False", "LinksDown")
    assert told(api)["Degraded"] == ("True", "AgentsNotReady")
    assert {event.reason for event in api.events if event.warning} == {"LinksDown", "AgentsNotReady"}


def test_events_tell_changes_once(api: MemoryApi) -> None:
    assert [event.reason for event in api.events] == [
        "Ready",
        "CertificatesReady",
        "FullyMeshed",
    ]
    api.events.clear()
    api.now += timedelta(minutes=5)
    settle(api)
    assert api.events == []
    kill_node(api, "n2")
    api.report_ready("blue.n0", 1)
    settle(api)
    assert [(event.reason, event.warning) for event in api.events] == [("NodesDown", True)]
    api.events.clear()
    api.put(node_body("n2", "192.0.2.3"))
    api.report_ready("blue.n0", 2)
    settle(api)
    assert [(event.reason, event.warning) for event in api.events] == [
        ("FullyMeshed", False),
        ("Recovered", False),
    ]


OLD = {"nodes": "3/3", "conditions": [{"type": "Ready", "status": "True", "reason": "NodesJoined"}]}


@pytest.mark.parametrize(
    ("change", "last", "when"),
    [
        ({}, NOW, None),
        ({"nodes": "2/3"}, None, NOW),
        ({"nodes": "2/3"}, NOW - MIN_WRITE_INTERVAL, NOW),
        ({"nodes": "2/3"}, NOW - timedelta(seconds=1), NOW - timedelta(seconds=1) + MIN_WRITE_INTERVAL),
        ({"downLinks": ["a -> b: no probe"]}, NOW, NOW + MIN_WRITE_INTERVAL),
        ({"bootstraps": [{"node": "n0", "address": "192.0.2.1:5000"}]}, NOW, NOW),
        ({"trustBundle": "x"}, NOW, NOW),
        ({"conditions": []}, NOW, NOW),
        ({"conditions": [{"type": "Ready", "status": "True", "reason": "Other"}]}, NOW, NOW),
        (
            {"conditions": [{"type": "Ready", "status": "True", "reason": "NodesJoined", "message": "new"}]},
            NOW,
            NOW + MIN_WRITE_INTERVAL,
        ),
    ],
)
def test_counts_are_written_calmly_and_judgements_at_once(
    change: dict[str, Any], last: Any, when: Any
) -> None:
    assert next_write_at(OLD, OLD | change, last, NOW) == when
