"""The tunnels' DaemonSet: runs wireguard-go, so that agents can restart and be upgraded without packet loss.

A change of its template does not restart its pods (OnDelete): it applies to a node when its pod is re-created. Only a
new value of the mesh's annotation wgmesh.dev/restart-tunnels restarts all of them, one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Json
from wgmesh_operator.decisions.agent_defaults import AgentDefaults
from wgmesh_operator.decisions.drift import with_digest
from wgmesh_operator.decisions.model import Mesh
from wgmesh_operator.decisions.rendering import pods
from wgmesh_operator.decisions.rendering.agent import selector

COMPONENT = "tunnel"
RESTARTED = f"{names.RESTART_TUNNELS}-done"
"""Annotation of the DaemonSet: the last value of the mesh's annotation that was carried out."""


def daemon_set(
    mesh: Mesh,
    deployment: AgentDefaults,
    live: Mapping[str, Any] | None,
    *,
    node_selector: Mapping[str, str] | None = None,
) -> Json:
    """`live` is the current DaemonSet, which contains the progress of a restart."""
    spec = mesh.spec
    token = mesh.metadata.annotations.get(names.RESTART_TUNNELS, "")
    restarting = live is not None and token != _carried_out(live) and not _restarted(live, token)
    done = _carried_out(live) if restarting and live is not None else token
    labels = names.labels(mesh.name, COMPONENT)
    placement = pods.placement(spec, deployment)
    if node_selector is not None:
        placement.pop("nodeSelector", None)
        if node_selector:
            placement["nodeSelector"] = dict(node_selector)
    strategy: Json = (
        {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
        if restarting
        else {"type": "OnDelete"}
    )
    return with_digest(
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {
                "name": names.tunnel_daemon_set(mesh.name),
                "namespace": deployment.namespace,
                "labels": labels,
                "ownerReferences": [mesh.metadata.owner],
                **({"annotations": {RESTARTED: done}} if done else {}),
            },
            "spec": {
                "selector": {"matchLabels": selector(mesh.name, COMPONENT)},
                "updateStrategy": strategy,
                "template": {
                    "metadata": {
                        "labels": labels,
                        **({"annotations": {names.RESTART_TUNNELS: token}} if token else {}),
                    },
                    "spec": {
                        **placement,
                        "automountServiceAccountToken": False,
                        "terminationGracePeriodSeconds": 5,
                        "containers": [_container(mesh, deployment)],
                        "volumes": pods.volumes(spec)[0],
                    },
                },
            },
        }
    )


def _container(mesh: Mesh, deployment: AgentDefaults) -> Json:
    spec = mesh.spec
    return {
        "name": "tunnel",
        **pods.image(spec, deployment),
        "command": ["wgmesh-agent", "tunnel"],
        "env": pods.variables(
            {
                "WGMESH_MESH_NAME": mesh.name,
                "WGMESH_BACKEND": spec.wireguard.backend,
                "WGMESH_LOG_FORMAT": spec.agent.log_format,
            }
        ),
        "resources": dict(deployment.tunnel_resources),
        "securityContext": pods.security_context(spec),
        "volumeMounts": pods.volumes(spec)[1],
    }


def _carried_out(live: Mapping[str, Any]) -> str:
    return str((live["metadata"].get("annotations") or {}).get(RESTARTED, ""))


def _restarted(live: Mapping[str, Any], token: str) -> bool:
    """Whether all pods of `live` have a template with `token`."""
    template = live["spec"]["template"]["metadata"].get("annotations") or {}
    status = live.get("status") or {}
    wanted = status.get("desiredNumberScheduled", 0)
    return bool(
        template.get(names.RESTART_TUNNELS, "") == token
        and live["spec"].get("updateStrategy", {}).get("type") == "RollingUpdate"
        and status.get("observedGeneration") == live["metadata"].get("generation")
        and status.get("updatedNumberScheduled", 0) == wanted
        and status.get("numberAvailable", 0) == wanted
    )
