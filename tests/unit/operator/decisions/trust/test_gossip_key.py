"""The gossip key's Secret contains at each moment the keys that a starting agent needs, and changes only when all are
ready.
"""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest
from tests.unit.operator.harness import NOW, MemoryApi, cluster_of, settle

from wgmesh_api.fields import write_time
from wgmesh_api.roster import gossip_key_id
from wgmesh_operator.decisions.trust.gossip_key import INSTALL_DEADLINE, RETRY_AFTER

SECRET = "wgmesh-blue-gossip"


def ring(api: MemoryApi) -> list[bytes]:
    body = api.get("Secret", SECRET)
    assert body is not None
    return [base64.b64decode(text) for text in json.loads(base64.b64decode(body["data"]["keyring"]))]


def since(api: MemoryApi) -> int:
    body = api.get("Secret", SECRET)
    assert body is not None
    return int(base64.b64decode(body["data"]["since"]))


def rotate(api: MemoryApi, token: str = "1", seed: int = 1) -> None:
    body = api.get("WgMesh", "blue")
    assert body is not None
    body["metadata"]["annotations"] = {"wgmesh.dev/rotate-gossip-key": token}
    settle(api, seed=seed)


def say(api: MemoryApi, *keys: bytes, nodes: int = 3) -> None:
    """What agents report once their kubelet has brought them the Secret."""
    for number in range(nodes):
        api.report_ready(f"blue.n{number}", 2, gossipKeys=[gossip_key_id(key) for key in keys])
    settle(api, seed=2)


def told(api: MemoryApi) -> list[str]:
    return [event.reason for event in api.events if event.reason.startswith("GossipKey")]


@pytest.fixture
def api() -> MemoryApi:
    api = cluster_of()
    settle(api)
    say(api, *ring(api))
    return api


def test_a_mesh_has_one_key_and_keeps_it(api: MemoryApi) -> None:
    before = api.get("Secret", SECRET)
    api.now += timedelta(days=400)
    settle(api, seed=3)
    assert api.get("Secret", SECRET) == before
    assert since(api) == int(NOW.timestamp())


def test_all_have_the_new_key_before_one_uses_it_and_use_it_before_the_old_goes(api: MemoryApi) -> None:
    (old,) = ring(api)
    steps = [since(api)]
    rotate(api)
    assert ring(api)[0] == old
    _, new = ring(api)
    steps.append(since(api))
    say(api, old, new, nodes=2)
    assert ring(api) == [old, new]
    say(api, old, new)
    assert ring(api) == [new, old]
    steps.append(since(api))
    say(api, new, old, nodes=2)
    assert ring(api) == [new, old]
    say(api, new, old)
    assert ring(api) == [new]
    steps.append(since(api))
    assert steps == sorted(set(steps))
    assert told(api) == ["GossipKeyRotationStarted", "GossipKeySwitched", "GossipKeyRotated"]


def test_one_that_does_not_take_it_is_named_and_the_old_key_stays(api: MemoryApi) -> None:
    (old,) = ring(api)
    rotate(api)
    _, new = ring(api)
    say(api, old, new, nodes=2)
    before = since(api)
    api.now += INSTALL_DEADLINE
    settle(api)
    assert ring(api) == [old]
    assert since(api) > before
    assert told(api) == ["GossipKeyRotationStarted", "GossipKeyRotationFailed"]
    assert api.events[-1].warning
    assert api.events[-1].message == "the old gossip key stays in use: n2 did not install the new one"
    settle(api, seed=4)
    assert ring(api) == [old]


def test_nodes_that_are_down_are_not_waited_for(api: MemoryApi) -> None:
    (old,) = ring(api)
    node = api.get("Node", "n2")
    assert node is not None
    node["status"]["conditions"][0]["status"] = "False"
    rotate(api)
    _, new = ring(api)
    say(api, old, new, nodes=2)
    assert ring(api) == [new, old]


def test_one_value_of_the_annotation_is_one_change(api: MemoryApi) -> None:
    rotate(api)
    for _ in range(2):
        say(api, *ring(api))
    assert len(ring(api)) == 1
    settle(api, seed=5)
    assert len(ring(api)) == 1
    rotate(api, "2", seed=6)
    assert len(ring(api)) == 2


def test_a_schedule_changes_it_when_it_is_old_enough_and_the_status_says_when_it_was_made() -> None:
    api = cluster_of(rotation={"gossipKeys": "24h"})
    settle(api)
    say(api, *ring(api))
    body = api.get("WgMesh", "blue")
    assert body is not None
    assert body["status"]["gossipKeyCreatedAt"] == write_time(NOW)
    api.now += timedelta(hours=24, seconds=-1)
    settle(api, seed=3)
    assert len(ring(api)) == 1
    api.now += timedelta(seconds=1)
    settle(api, seed=4)
    assert len(ring(api)) == 2
    for _ in range(2):
        say(api, *ring(api))
    assert len(ring(api)) == 1
    api.now += timedelta(seconds=30)
    settle(api)
    body = api.get("WgMesh", "blue")
    assert body is not None
    assert body["status"]["gossipKeyCreatedAt"] == write_time(NOW + timedelta(hours=24))


def test_a_schedule_rests_for_an_hour_after_a_change_that_was_taken_back() -> None:
    api = cluster_of(rotation={"gossipKeys": "24h"})
    settle(api)
    say(api, *ring(api))
    api.now += timedelta(hours=24)
    settle(api, seed=3)
    api.now += INSTALL_DEADLINE
    settle(api, seed=4)
    assert len(ring(api)) == 1
    api.now += RETRY_AFTER - timedelta(seconds=1)
    settle(api, seed=5)
    assert len(ring(api)) == 1
    api.now += timedelta(seconds=1)
    settle(api, seed=6)
    assert len(ring(api)) == 2


def test_a_secret_of_an_earlier_operator_is_gone_on_with(api: MemoryApi) -> None:
    body = api.get("Secret", SECRET)
    assert body is not None
    del body["data"]["since"]
    body["metadata"]["annotations"] = {}
    (old,) = ring(api)
    rotate(api)
    assert ring(api)[0] == old
    assert len(ring(api)) == 2
    assert since(api) >= int(NOW.timestamp())


@pytest.mark.parametrize("text", ["", "{}", "[]", '["x"]', "[7]", '["AAAA"]'])
def test_a_secret_that_makes_no_sense_is_left_alone(api: MemoryApi, text: str) -> None:
    body = api.get("Secret", SECRET)
    assert body is not None
    body["data"]["keyring"] = base64.b64encode(text.encode()).decode()
    rotate(api)
    after = api.get("Secret", SECRET)
    assert after is not None
    assert base64.b64decode(after["data"]["keyring"]).decode() == text
