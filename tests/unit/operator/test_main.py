"""The command, the probe and kopf's settings."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import kopf
import pytest
from click.testing import CliRunner
from tests.unit.operator.harness import (
    DEPLOYMENT,
    ApiClock,
    FakeClock,
    MemoryApi,
    entropy,
    mesh_body,
    node_body,
)

from wgmesh_operator import handlers, main
from wgmesh_operator.api_resources import WATCHED, WatchedResource
from wgmesh_operator.controller import Controller
from wgmesh_operator.decisions.agent_defaults import AgentDefaults
from wgmesh_operator.liveness import STUCK_AFTER_SECONDS, ControllerStuck, LivenessCheck


def controller_of(api: MemoryApi) -> Controller:
    clock = ApiClock(api)
    return Controller(api, DEPLOYMENT, entropy(), LivenessCheck(clock), clock)


def test_standing_still_for_long_is_told() -> None:
    clock = FakeClock()
    progress = LivenessCheck(clock)
    clock.seconds = STUCK_AFTER_SECONDS
    assert progress.check()["idle_seconds"] == STUCK_AFTER_SECONDS
    clock.seconds += 1
    with pytest.raises(ControllerStuck, match="no progress for 121 s"):
        progress.check()
    progress.heartbeat()
    assert progress.check()["idle_seconds"] == 0


async def test_kopf_watches_what_the_store_holds_and_nothing_else() -> None:
    registry = handlers.registry(controller_of(MemoryApi()))
    selectors = {(s.group, s.version, s.any_name or s.plural) for s in registry._watching.get_all_selectors()}
    assert selectors == {(r.group, r.version, r.plural) for r in WATCHED.values()}
    assert not registry._changing.get_all_selectors()
    assert not registry._spawning.get_all_selectors()


async def test_events_reach_the_store() -> None:
    controller = controller_of(MemoryApi())
    registry = handlers.registry(controller)
    tell = {
        handler.selector.any_name: handler.fn
        for handler in registry._watching.get_all_handlers()
        if handler.selector is not None
    }

    async def event(kind: str, what: str, body: Any) -> None:
        handle: Any = tell[WATCHED[WatchedResource(kind)].plural]
        assert await handle(type=what, body=kopf.Body(body)) is None

    node = node_body("n0")
    node["metadata"] |= {"resourceVersion": "1"}
    mesh = mesh_body()
    mesh["metadata"] |= {"resourceVersion": "2", "uid": "u", "generation": 1}
    await event("nodes", "ADDED", node)
    await event("meshes", "ADDED", mesh)
    assert (set(controller.cache.state.nodes), set(controller.cache.state.meshes)) == ({"n0"}, {"blue"})
    gone = {**node, "metadata": node["metadata"] | {"resourceVersion": "3"}}
    await event("nodes", "DELETED", gone)
    assert controller.cache.state.nodes == {}


def test_credentials_that_cannot_be_read_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(kopf.TemporaryError, match="the credentials cannot be read"):
        handlers.login(logger=logging.getLogger(), settings=handlers.settings())


def test_kopf_writes_nothing_of_its_own() -> None:
    settings = handlers.settings()
    assert settings.posting.enabled is False
    assert settings.scanning.disabled is True
    assert settings.peering.standalone is True


def run(monkeypatch: pytest.MonkeyPatch, *args: str, **env: str) -> tuple[int, str, list[AgentDefaults]]:
    seen: list[AgentDefaults] = []

    def record(deployment: AgentDefaults, health_port: int, **_: Any) -> int:
        assert health_port == 8080
        seen.append(deployment)
        return 0

    monkeypatch.setattr(main, "run", record)
    result = CliRunner().invoke(main.command, list(args), env=env)
    return result.exit_code, result.output, seen


def test_settings_come_by_flag_or_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, seen = run(
        monkeypatch,
        "--agent-priority-class=critical",
        WGMESH_OPERATOR_NAMESPACE="ns",
        WGMESH_OPERATOR_AGENT_IMAGE="wgmesh:1",
        WGMESH_OPERATOR_AGENT_IMAGE_PULL_SECRETS="a,b",
        WGMESH_OPERATOR_AGENT_RESOURCES=json.dumps({"requests": {"cpu": "10m"}}),
        WGMESH_OPERATOR_TUNNEL_RESOURCES=json.dumps({"requests": {"cpu": "11m"}}),
    )
    assert code == 0
    assert seen == [
        AgentDefaults(
            "ns",
            "wgmesh:1",
            image_pull_secrets=("a", "b"),
            priority_class="critical",
            agent_resources={"requests": {"cpu": "10m"}},
            tunnel_resources={"requests": {"cpu": "11m"}},
        )
    ]


@pytest.mark.parametrize("resources", ["[]", "nonsense", "1"])
@pytest.mark.parametrize("flag", ["--agent-resources", "--tunnel-resources"])
def test_resources_that_are_none_are_wrong_use(
    monkeypatch: pytest.MonkeyPatch, flag: str, resources: str
) -> None:
    flags = ["--namespace=ns", "--agent-image=i", f"{flag}={resources}"]
    code, output, _ = run(monkeypatch, *flags)
    assert code == 2
    assert flag in output


@pytest.mark.heavy
def test_without_an_api_server_it_ends_with_one_sentence() -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "wgmesh_operator.main"),
            *("--namespace", "ns", "--agent-image", "i", "--log-format", "text"),
        ],
        env={"KUBECONFIG": "/nonexistent", "PATH": "", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "neither a pod's service account nor a kubeconfig leads to an API server" in ended.stderr
    assert "Traceback" not in ended.stderr
