"""The mesh's status says how old WireGuard keys are, and an Event that all nodes have done what was asked."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.operator.harness import NOW, MemoryApi, cluster_of, settle

from wgmesh_api.fields import write_time
from wgmesh_api.roster import token_id


@pytest.fixture
def api() -> MemoryApi:
    api = cluster_of()
    settle(api)
    return api


def say(api: MemoryApi, *tokens: str) -> None:
    for number, token in enumerate(tokens):
        made = write_time(NOW + timedelta(hours=number))
        api.report_ready(f"blue.n{number}", 2, publicKeySince=made, lastHandledRotation=token_id(token))
    api.now += timedelta(seconds=30)
    settle(api)


def ask(api: MemoryApi, token: str) -> None:
    body = api.get("WgMesh", "blue")
    assert body is not None
    body["metadata"]["annotations"] = {"wgmesh.dev/rotate-wireguard-keys": token}
    settle(api)


def told(api: MemoryApi) -> list[str]:
    return [event.message for event in api.events if event.reason == "WireGuardKeysRotated"]


def test_the_status_says_since_when_the_oldest_key_is_in_use(api: MemoryApi) -> None:
    say(api, "", "", "")
    body = api.get("WgMesh", "blue")
    assert body is not None
    assert body["status"]["oldestWireguardKey"] == write_time(NOW)


def test_that_all_have_done_it_is_told_once(api: MemoryApi) -> None:
    ask(api, "1")
    say(api, "1", "1", "")
    assert told(api) == []
    say(api, "1", "1", "1")
    say(api, "1", "1", "1")
    assert told(api) == ["all 3 live nodes have new WireGuard keys"]
    ask(api, "2")
    say(api, "1", "2", "2")
    assert len(told(api)) == 1
    say(api, "2", "2", "2")
    assert len(told(api)) == 2


def test_without_the_annotation_nothing_is_told(api: MemoryApi) -> None:
    say(api, "", "", "")
    assert told(api) == []
