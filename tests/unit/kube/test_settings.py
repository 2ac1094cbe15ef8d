"""The agent's environment as set by the operator, and the errors for invalid values."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from wgmesh_agent.kube.settings import from_environment
from wgmesh_agent.settings import table
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.model import BackendChoice
from wgmesh_agent.settings.resolve import resolve
from wgmesh_agent.settings.setting import Command

TOLD = {
    "WGMESH_MESH_NAME": "blue",
    "WGMESH_KUBE_NODE": "worker-1.example",
    "WGMESH_KUBE_HOST_IP": "192.0.2.7",
    "WGMESH_KUBE_NAMESPACE": "wgmesh-system",
}


def test_the_least_that_is_told_is_enough() -> None:
    settings = from_environment(TOLD)
    assert settings.node.own_address == ip_address("192.0.2.7")
    assert settings.node.listen_addr is None
    assert settings.node.agent_socket == Path("/run/wgmesh/blue.sock")
    assert (settings.node.listen_port, settings.bootstrap_port, settings.metrics_port) == (54540, 5000, 9586)
    assert settings.node.mtu is None


def test_doctor_in_an_agents_pod_finds_its_agent_by_what_the_pod_is_told() -> None:
    told = {
        **TOLD,
        "WGMESH_BACKEND": "auto",
        "WGMESH_AGENT_SOCKET": "/run/wgmesh/blue.sock",
        "WGMESH_KEEPALIVE": "25",
        "WGMESH_STATE_DIR": "/var/lib/wgmesh",
        "WGMESH_GRPC_BIND_PORT": "5000",
    }
    resolved = resolve(Command.DOCTOR, {}, told)
    assert resolved.value(table.AGENT_SOCKET) == Path("/run/wgmesh/blue.sock")
    assert resolved.value(table.MESH_NAME) == "blue"
    assert resolved.value(table.BACKEND) is BackendChoice.AUTO


def test_everything_told_is_used() -> None:
    told = {
        **TOLD,
        "WGMESH_BACKEND": "userspace",
        "WGMESH_MTU": "1380",
        "WGMESH_KEEPALIVE": "25",
        "WGMESH_RELAYS": "n2,n1",
        "WGMESH_METRICS_PORT": "9600",
        "WGMESH_WIREGUARD_LISTEN_PORT": "51820",
    }
    settings = from_environment(told)
    assert settings.node.backend is BackendChoice.USERSPACE
    assert (settings.node.mtu, settings.node.keepalive_seconds) == (1380, 25)
    assert settings.node.relays == ("n2", "n1")
    assert (settings.metrics_port, settings.node.listen_port) == (9600, 51820)


@pytest.mark.parametrize("name", sorted(TOLD))
def test_what_must_be_told_is_named_when_it_is_not(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        from_environment({key: value for key, value in TOLD.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WGMESH_MESH_NAME", "much-too-long-a-name"),
        ("WGMESH_KUBE_HOST_IP", "here"),
        ("WGMESH_BACKEND", "magic"),
        ("WGMESH_MTU", "-1"),
        ("WGMESH_RELAYS", "n1,not a name"),
        ("WGMESH_METRICS_PORT", "70000"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        from_environment({**TOLD, name: value})
