"""An operator of this release while agents, and the statuses it finds, are those of the previous one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.operator.harness import NOW, MemoryApi, cluster_of, condition, settle, status_of

from wgmesh_api.fields import write_time
from wgmesh_api.resources.crd import KINDS, object_schema
from wgmesh_api.roster import token_id

READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Joined",
    "message": "",
    "lastTransitionTime": write_time(NOW),
}
TOKEN = "1"


def report_of_previous_agent(reachable: int = 2, **more: Any) -> dict[str, Any]:
    """A status as `to_status` of the previous release writes it."""
    return {
        "phase": "Joined",
        "publicKey": "k",
        "rotatedFor": token_id(TOKEN),
        "mtu": 1440,
        "peers": f"{reachable}/2",
        "heard": reachable,
        "relayed": 1,
        "preshared": 2,
        "expected": 2,
        "failed": 0,
        "worst": [],
        "refusedRoutes": ["the route 10.9.0.0/16 of b overlaps"],
        "narrowPaths": 2,
        "narrowest": [{"node": "n2", "mtu": 1216}],
        "trusted": ["aa"],
        "gossipKeys": [],
        "secretIds": [],
        "externals": [],
        "certificateNotAfter": write_time(NOW + timedelta(days=30)),
        "lastChange": write_time(NOW),
        "conditions": [READY],
        **more,
    }


def status(api: MemoryApi) -> dict[str, Any]:
    body = api.get("WgMesh", "blue")
    assert body is not None
    found: dict[str, Any] = body["status"]
    return found


@pytest.fixture
def api() -> MemoryApi:
    api = cluster_of()
    settle(api)
    return api


def test_links_and_conditions_are_those_of_agents_of_this_release(api: MemoryApi) -> None:
    for number in range(3):
        api.report(f"blue.n{number}", **report_of_previous_agent())
    settle(api)
    assert (status(api)["nodes"], status(api)["links"]) == ("3/3", "6/6")
    assert condition(api, "FullyMeshed")["reason"] == "AllLinksUp"
    assert condition(api, "FullyMeshed")["message"] == "6 of 6 links, 3 of them via a relay"
    assert condition(api, "MTUMismatch")["message"].startswith(
        "the path MTU to 6 peers is below the interface MTU: n0 -> n2: 1216 of 1440"
    )


def test_half_the_agents_replaced_changes_no_count(api: MemoryApi) -> None:
    for number in range(2):
        api.report(f"blue.n{number}", **report_of_previous_agent())
    api.report_ready("blue.n2", 2)
    settle(api)
    assert status(api)["links"] == "6/6"
    assert condition(api, "FullyMeshed")["status"] == "True"


def test_down_links_are_those_that_an_agent_of_the_previous_release_names(api: MemoryApi) -> None:
    silent = [{"node": "n2", "problem": "no probe for 12s"}]
    api.report("blue.n0", **report_of_previous_agent(1, worst=silent))
    for number in (1, 2):
        api.report(f"blue.n{number}", **report_of_previous_agent())
    settle(api)
    assert (status(api)["links"], status(api)["downLinks"]) == ("5/6", ["n0 -> n2: no probe for 12s"])


def test_the_time_of_the_first_full_mesh_is_that_of_the_previous_operator(api: MemoryApi) -> None:
    first = NOW - timedelta(days=3)
    before = {**status(api), "firstMeshedAt": int(first.timestamp())}
    before.pop("firstMeshedTime", None)
    api.execute(status_of("blue", before))
    for number in range(3):
        api.report(f"blue.n{number}", **report_of_previous_agent())
    settle(api)
    assert status(api)["firstMeshedTime"] == write_time(first)
    assert "firstMeshedAt" not in status(api)


@pytest.mark.parametrize("broken", [True, -5, 2**80, "yesterday", [], 0])
def test_a_time_of_the_previous_operator_that_is_none_counts_as_absent(api: MemoryApi, broken: Any) -> None:
    before = {**status(api), "firstMeshedAt": broken}
    before.pop("firstMeshedTime", None)
    api.execute(status_of("blue", before))
    settle(api)
    assert "firstMeshedTime" not in status(api)


def test_a_rotation_that_the_previous_operator_has_reported_is_not_reported_again(api: MemoryApi) -> None:
    body = api.get("WgMesh", "blue")
    assert body is not None
    body["metadata"]["annotations"] = {"wgmesh.dev/rotate-wireguard-keys": TOKEN}
    api.execute(status_of("blue", {**status(api), "wireguardKeysRotatedFor": token_id(TOKEN)}))
    for number in range(3):
        api.report(f"blue.n{number}", **report_of_previous_agent())
    settle(api)
    assert [event for event in api.events if event.reason == "WireGuardKeysRotated"] == []
    assert status(api)["lastHandledRotation"] == token_id(TOKEN)


def test_a_rotation_done_by_agents_of_the_previous_release_is_reported(api: MemoryApi) -> None:
    body = api.get("WgMesh", "blue")
    assert body is not None
    body["metadata"]["annotations"] = {"wgmesh.dev/rotate-wireguard-keys": TOKEN}
    for number in range(3):
        api.report(f"blue.n{number}", **report_of_previous_agent())
    settle(api)
    assert [event.reason for event in api.events if event.reason == "WireGuardKeysRotated"] != []


def test_agents_of_the_previous_release_find_the_creation_time_in_seconds(api: MemoryApi) -> None:
    assert status(api)["createdAt"] == int(NOW.timestamp())


def test_the_definitions_keep_what_the_previous_release_writes_and_call_it_deprecated() -> None:
    mesh, node = (object_schema(kind.model)["properties"]["status"]["properties"] for kind in KINDS)
    renamed = [
        "rotatedFor",
        "heard",
        "relayed",
        "preshared",
        "expected",
        "failed",
        "worst",
        "refusedRoutes",
        "narrowPaths",
        "narrowest",
        "trusted",
    ]
    assert set(report_of_previous_agent()) <= set(node)
    for fields, names in (
        (node, renamed),
        (mesh, ["worstLinks", "gossipKeyMade", "wireguardKeysRotatedFor", "createdAt", "firstMeshedAt"]),
        (node["externals"]["items"]["properties"], ["heard"]),
    ):
        for name in names:
            current = fields[name]["description"].split("`")[1]
            assert fields[name]["description"].startswith("Deprecated: use `")
            assert "Deprecated" not in fields[current]["description"]


def test_no_default_of_a_new_name_hides_what_the_previous_release_wrote() -> None:
    node = object_schema(KINDS[1].model)["properties"]["status"]["properties"]
    outside = node["externals"]["items"]["properties"]
    assert not [name for name, field in node.items() if "default" in field]
    assert "default" not in outside["reachable"]
