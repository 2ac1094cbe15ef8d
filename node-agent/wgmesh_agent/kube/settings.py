"""Settings of an agent in Kubernetes, set by the operator in its pod's environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from wgmesh_agent.runtime.log_levels import LogFormat, Verbosity
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.model import BackendChoice, NodeSettings
from wgmesh_api.names import is_mesh_name, is_node_name

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class KubeSettings:
    """An agent's settings in Kubernetes.

    Attributes:
        kube_node: the Kubernetes node of this pod; also the member's name.
        namespace: the operator's.
        metrics_port: TCP, health and metrics.
        bootstrap_port: TCP, the Mesh service if this node is a bootstrap node.
        keyring: the file with the mesh's gossip keys, which the kubelet updates.
        secrets: the file with those for pre-shared keys; without it there are no such keys.
    """

    node: NodeSettings
    kube_node: str
    host_ip: str
    namespace: str
    metrics_port: int
    bootstrap_port: int
    keyring: Path
    secrets: Path

    @property
    def mesh(self) -> str:
        return self.node.mesh_name


def from_environment(environment: Mapping[str, str]) -> KubeSettings:
    """Raises SettingsError, which names the variable."""
    mesh = mesh_name(environment)
    kube_node = _required(environment, "WGMESH_KUBE_NODE")
    if not is_node_name(kube_node):
        raise SettingsError(f"WGMESH_KUBE_NODE: {kube_node!r} is not a valid node name")
    host_ip = _required(environment, "WGMESH_KUBE_HOST_IP")
    try:
        address = ip_address(host_ip)
    except ValueError as error:
        raise SettingsError(f"WGMESH_KUBE_HOST_IP: {host_ip!r} is not an IP address") from error
    return KubeSettings(
        node=NodeSettings(
            mesh_name=mesh,
            node_name=kube_node,
            listen_addr=None,
            own_address=address,
            listen_port=_number(environment, "WGMESH_WIREGUARD_LISTEN_PORT", 54540),
            memberlist_file=None,
            agent_socket=Path(environment.get("WGMESH_AGENT_BIND_SOCKET") or f"/run/wgmesh/{mesh}.sock"),
            agent_socket_owner=None,
            dev=False,
            backend=_choice(environment, "WGMESH_BACKEND", BackendChoice, BackendChoice.AUTO),
            stun_server=None,
            state_dir=Path(environment.get("WGMESH_STATE_DIR") or "/var/lib/wgmesh"),
            log_format=_choice(environment, "WGMESH_LOG_FORMAT", LogFormat, LogFormat.JSON),
            verbosity=Verbosity.VERBOSE if environment.get("WGMESH_VERBOSE") == "true" else Verbosity.DEFAULT,
            mtu=_optional_number(environment, "WGMESH_MTU"),
            keepalive_seconds=_optional_number(environment, "WGMESH_KEEPALIVE"),
            relays=_names(environment, "WGMESH_RELAYS"),
        ),
        kube_node=kube_node,
        host_ip=host_ip,
        namespace=_required(environment, "WGMESH_KUBE_NAMESPACE"),
        metrics_port=_number(environment, "WGMESH_METRICS_PORT", 9586),
        bootstrap_port=_number(environment, "WGMESH_GRPC_BIND_PORT", 5000),
        keyring=Path(environment.get("WGMESH_KEYRING") or "/etc/wgmesh/gossip/keyring"),
        secrets=Path(environment.get("WGMESH_PSK_FILE") or "/etc/wgmesh/psk/secrets"),
    )


def mesh_name(environment: Mapping[str, str]) -> str:
    """Raises SettingsError."""
    mesh = _required(environment, "WGMESH_MESH_NAME")
    if not is_mesh_name(mesh):
        raise SettingsError(
            f"WGMESH_MESH_NAME: {mesh!r} is not a valid mesh name: use 1 to 10 letters and digits"
        )
    return mesh


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set: the operator sets it in the agent's pod")
    return value


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    found = _optional_number(environment, name)
    return default if found is None else found


def _optional_number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise SettingsError(f"{name}: {text!r} is not a number from 0 to 65535")
    return int(text)


def _names(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    names = tuple(filter(None, environment.get(name, "").split(",")))
    for one in names:
        if not is_node_name(one):
            raise SettingsError(f"{name}: {one!r} is not a valid node name")
    return names


def _choice(environment: Mapping[str, str], name: str, kind: type[E], default: E) -> E:
    text = environment.get(name, "")
    if not text:
        return default
    try:
        return kind(text)  # type: ignore[call-arg]
    except ValueError as error:
        raise SettingsError(f"{name}: {text!r} is not one of its values") from error
