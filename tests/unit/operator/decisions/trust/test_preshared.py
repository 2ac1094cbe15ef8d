"""A mesh's secret for pre-shared keys: created on request, replaced when all have the next, removed when disabled."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.unit.operator.harness import MemoryApi, cluster_of, external_body, settle

from wgmesh_api.preshared import read_secrets, secret_id

SECRET = "wgmesh-blue-psk"


def secrets(api: MemoryApi) -> list[bytes]:
    body = api.get("Secret", SECRET)
    return list(read_secrets(base64.b64decode(body["data"]["secrets"]).decode())) if body is not None else []


def mesh(api: MemoryApi) -> dict[str, Any]:
    body = api.get("WgMesh", "blue")
    assert body is not None
    return body


def rotate(api: MemoryApi, token: str = "1", seed: int = 1) -> None:
    mesh(api)["metadata"]["annotations"] = {"wgmesh.dev/rotate-psk": token}
    settle(api, seed=seed)


def ids(*held: bytes) -> list[str]:
    return [secret_id(secret, "blue").hex() for secret in held]


def say(api: MemoryApi, *held: bytes, nodes: int = 3) -> None:
    """What agents report once their kubelet has brought them the Secret."""
    for number in range(nodes):
        api.report_ready(f"blue.n{number}", 2, secretIds=ids(*held))
    settle(api, seed=2)


def told(api: MemoryApi) -> list[str]:
    return [event.reason for event in api.events if event.reason.startswith("Preshared")]


@pytest.fixture
def api() -> MemoryApi:
    api = cluster_of(wireguard={"presharedKeys": True})
    settle(api)
    say(api, *secrets(api))
    return api


def test_without_being_asked_there_is_none() -> None:
    api = cluster_of()
    settle(api)
    assert api.get("Secret", SECRET) is None
    assert told(api) == []


def test_it_is_one_secret_which_stays(api: MemoryApi) -> None:
    before = api.get("Secret", SECRET)
    assert len(secrets(api)) == 1
    settle(api, seed=3)
    assert api.get("Secret", SECRET) == before
    assert told(api) == ["PresharedKeysEnabled"]


def test_it_is_mounted_where_agents_look_for_it_and_needs_no_restart(api: MemoryApi) -> None:
    made = api.get("DaemonSet", "wgmesh-blue")
    assert made is not None
    pod = made["spec"]["template"]["spec"]
    (volume,) = (one for one in pod["volumes"] if one["name"] == "psk")
    assert volume["secret"] == {"secretName": SECRET, "optional": True, "defaultMode": 0o400}
    (mount,) = (one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "psk")
    assert mount == {"name": "psk", "mountPath": "/etc/wgmesh/psk", "readOnly": True}
    template = json.dumps(made["spec"]["template"])
    mesh(api)["spec"]["wireguard"]["presharedKeys"] = False
    settle(api)
    after = api.get("DaemonSet", "wgmesh-blue")
    assert after is not None
    assert json.dumps(after["spec"]["template"]) == template


def test_switched_off_it_goes(api: MemoryApi) -> None:
    mesh(api)["spec"]["wireguard"]["presharedKeys"] = False
    settle(api)
    assert api.get("Secret", SECRET) is None
    assert told(api) == ["PresharedKeysEnabled", "PresharedKeysDisabled"]


def test_a_new_one_stands_beside_the_old_until_all_live_members_hold_it(api: MemoryApi) -> None:
    (old,) = secrets(api)
    rotate(api)
    new, kept = secrets(api)
    assert kept == old
    say(api, new, old, nodes=2)
    assert secrets(api) == [new, old]
    settle(api, seed=5)
    assert secrets(api) == [new, old]
    say(api, new, old)
    assert secrets(api) == [new]
    settle(api, seed=6)
    assert secrets(api) == [new]
    assert told(api) == ["PresharedKeysEnabled", "PresharedSecretCreated", "PresharedSecretReplaced"]
    rotate(api, "2", seed=7)
    assert secrets(api)[1:] == [new]


def test_nodes_that_are_down_are_not_waited_for_and_nobody_is_not_all(api: MemoryApi) -> None:
    rotate(api)
    new, old = secrets(api)
    for name in ("n0", "n1", "n2"):
        node = api.get("Node", name)
        assert node is not None
        node["status"]["conditions"][0]["status"] = "False"
    settle(api)
    assert secrets(api) == [new, old]
    node = api.get("Node", "n0")
    assert node is not None
    node["status"]["conditions"][0]["status"] = "True"
    say(api, new, old, nodes=1)
    assert secrets(api) == [new]


def test_a_machine_outside_has_it_in_its_bundle_and_is_waited_for_while_it_is_heard(api: MemoryApi) -> None:
    api.put(external_body())
    settle(api)

    def bundled() -> list[bytes]:
        body = api.get("Secret", "wgmesh-blue-laptop-join")
        assert body is not None
        bundle = json.loads(base64.b64decode(body["data"]["bundle.json"]))
        return [base64.b64decode(text) for text in bundle["secrets"]]

    assert bundled() == secrets(api)
    rotate(api)
    new, old = secrets(api)
    assert bundled() == [new, old]
    bodies = api.of_kind("WgMeshNode")
    duty = next(body["metadata"]["name"] for body in bodies if body["spec"].get("bootstrap"))
    outside = {"node": "laptop", "reachable": True, "secretIds": ids(old)}
    api.report_ready(duty, 2, secretIds=ids(new, old), externals=[outside])
    for body in bodies:
        if body["metadata"]["name"] != duty and not body["spec"].get("external"):
            api.report_ready(body["metadata"]["name"], 2, secretIds=ids(new, old))
    settle(api)
    assert secrets(api) == [new, old]
    member = api.get("WgMeshNode", "blue.laptop")
    assert member is not None
    assert member["status"]["secretIds"] == ids(old)
    api.report_ready(duty, 2, secretIds=ids(new, old), externals=[{**outside, "secretIds": ids(new, old)}])
    settle(api)
    assert secrets(api) == [new]
    assert bundled() == [new]


@pytest.mark.parametrize("text", ["", "AAAA", "\udcff"])
def test_a_secret_that_makes_no_sense_is_left_alone(api: MemoryApi, text: str) -> None:
    body = api.get("Secret", SECRET)
    assert body is not None
    spoilt = base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()
    body["data"]["secrets"] = spoilt
    rotate(api)
    after = api.get("Secret", SECRET)
    assert after is not None
    assert after["data"]["secrets"] == spoilt
