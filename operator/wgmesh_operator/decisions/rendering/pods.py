"""Common parts of the pods of agents and tunnels: the node's network, its TUN device, its folders."""

from __future__ import annotations

from typing import Any

from wgmesh_api.resources.mesh import WgMeshSpec
from wgmesh_operator.decisions.actions import Json
from wgmesh_operator.decisions.agent_defaults import AgentDefaults

_TUN = ("tun", "/dev/net/tun", {"hostPath": {"path": "/dev/net/tun", "type": "CharDevice"}})
_FOLDERS = tuple(
    (name, path, {"hostPath": {"path": path, "type": "DirectoryOrCreate"}})
    for name, path in (
        ("state", "/var/lib/wgmesh"),
        ("run", "/run/wgmesh"),
        ("wireguard", "/var/run/wireguard"),
    )
)
_TMP = ("tmp", "/tmp", {"emptyDir": {"sizeLimit": "16Mi"}})  # noqa: S108 - a path in the container


def volumes(spec: WgMeshSpec) -> tuple[list[Json], list[Json]]:
    """The volumes of a pod and their mounts."""
    used = [*_FOLDERS, _TMP]
    # a privileged container has all of the node's devices, and the kernel's WireGuard needs none
    if not spec.agent.privileged and spec.wireguard.backend != "kernel":
        used.append(_TUN)
    return (
        [{"name": name, **source} for name, _, source in used],
        [{"name": name, "mountPath": path} for name, path, _ in used],
    )


def image(spec: WgMeshSpec, deployment: AgentDefaults) -> Json:
    return {
        "image": spec.agent.image or deployment.agent_image,
        "imagePullPolicy": spec.agent.image_pull_policy or deployment.image_pull_policy,
    }


def placement(spec: WgMeshSpec, deployment: AgentDefaults) -> Json:
    """The nodes on which the pods run, and their priority."""
    placed: Json = {
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "tolerations": [
            toleration.model_dump(by_alias=True, exclude_none=True) for toleration in spec.tolerations
        ],
    }
    if spec.node_selector:
        placed["nodeSelector"] = dict(spec.node_selector)
    priority_class = spec.agent.priority_class_name or deployment.priority_class
    if priority_class:
        placed["priorityClassName"] = priority_class
    if deployment.image_pull_secrets:
        placed["imagePullSecrets"] = [{"name": name} for name in deployment.image_pull_secrets]
    return placed


def security_context(spec: WgMeshSpec) -> Json:
    if spec.agent.privileged:
        return {"privileged": True, "runAsUser": 0, "readOnlyRootFilesystem": True}
    return {
        "privileged": False,
        "runAsUser": 0,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def variables(values: dict[str, Any]) -> list[Json]:
    """Environment variables; None: omitted, a dictionary: the source of the value."""
    return [
        {"name": name, "valueFrom": value} if isinstance(value, dict) else {"name": name, "value": str(value)}
        for name, value in values.items()
        if value is not None
    ]


def field_ref(path: str) -> Json:
    return {"fieldRef": {"fieldPath": path}}
