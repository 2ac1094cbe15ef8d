"""The agents' DaemonSet, their service account and its binding."""

from __future__ import annotations

from collections.abc import Mapping

from wgmesh_api.roster import agent_service_account
from wgmesh_operator.decisions import names
from wgmesh_operator.decisions.actions import Json
from wgmesh_operator.decisions.agent_defaults import AgentDefaults
from wgmesh_operator.decisions.drift import with_digest
from wgmesh_operator.decisions.model import Mesh
from wgmesh_operator.decisions.rendering import pods

COMPONENT = "agent"
GOSSIP_FOLDER = "/etc/wgmesh/gossip"
PSK_FOLDER = "/etc/wgmesh/psk"
GRACE_SECONDS = 30


def daemon_set(
    mesh: Mesh, deployment: AgentDefaults, *, node_selector: Mapping[str, str] | None = None
) -> Json:
    """`node_selector` replaces the mesh's own while nodes that it excludes have still to leave."""
    spec = mesh.spec
    labels = names.labels(mesh.name, COMPONENT)
    placement = pods.placement(spec, deployment)
    if node_selector is not None:
        placement.pop("nodeSelector", None)
        if node_selector:
            placement["nodeSelector"] = dict(node_selector)
    return with_digest(
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {
                "name": names.agent_daemon_set(mesh.name),
                "namespace": deployment.namespace,
                "labels": labels,
                "ownerReferences": [mesh.metadata.owner],
            },
            "spec": {
                "selector": {"matchLabels": selector(mesh.name, COMPONENT)},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
                "template": {
                    "metadata": {
                        "labels": labels,
                        "annotations": {"kubectl.kubernetes.io/default-container": "agent"},
                    },
                    "spec": {
                        **placement,
                        "serviceAccountName": agent_service_account(mesh.name),
                        "terminationGracePeriodSeconds": GRACE_SECONDS,
                        "containers": [_container(mesh, deployment)],
                        "volumes": [
                            *pods.volumes(spec)[0],
                            _secret_volume("gossip", names.gossip_secret(mesh.name)),
                            _secret_volume("psk", names.psk_secret(mesh.name)),
                        ],
                    },
                },
            },
        }
    )


def _secret_volume(name: str, secret: str) -> Json:
    """Optional: it is created and deleted without a restart."""
    return {"name": name, "secret": {"secretName": secret, "optional": True, "defaultMode": 0o400}}


def _container(mesh: Mesh, deployment: AgentDefaults) -> Json:
    spec = mesh.spec
    resources = {k: v for k, v in spec.agent.resources.model_dump(by_alias=True).items() if v}
    return {
        "name": "agent",
        **pods.image(spec, deployment),
        "command": ["wgmesh-agent", "kube"],
        "env": pods.variables(
            {
                "WGMESH_MESH_NAME": mesh.name,
                "WGMESH_KUBE_NODE": pods.field_ref("spec.nodeName"),
                "WGMESH_KUBE_HOST_IP": pods.field_ref("status.hostIP"),
                "WGMESH_KUBE_NAMESPACE": pods.field_ref("metadata.namespace"),
                "WGMESH_WIREGUARD_LISTEN_PORT": spec.wireguard.port,
                "WGMESH_BACKEND": spec.wireguard.backend,
                "WGMESH_MTU": spec.wireguard.mtu,
                "WGMESH_KEEPALIVE": spec.wireguard.keepalive,
                "WGMESH_RELAYS": ",".join(spec.wireguard.relays) or None,
                "WGMESH_GRPC_BIND_PORT": spec.bootstrap.port,
                "WGMESH_GOSSIP_PORT": spec.gossip.port,
                "WGMESH_PROFILE": spec.gossip.profile,
                "WGMESH_METRICS_PORT": spec.agent.metrics_port,
                "WGMESH_STATE_DIR": "/var/lib/wgmesh",
                "WGMESH_AGENT_BIND_SOCKET": f"/run/wgmesh/{mesh.name}.sock",
                "WGMESH_AGENT_SOCKET": f"/run/wgmesh/{mesh.name}.sock",
                "WGMESH_LOG_FORMAT": spec.agent.log_format,
                "WGMESH_VERBOSE": "true" if spec.agent.verbose else None,
            }
        ),
        "ports": [{"name": "metrics", "containerPort": spec.agent.metrics_port, "protocol": "TCP"}],
        "securityContext": pods.security_context(spec),
        "resources": resources or dict(deployment.agent_resources),
        "volumeMounts": [
            *pods.volumes(spec)[1],
            {"name": "gossip", "mountPath": GOSSIP_FOLDER, "readOnly": True},
            {"name": "psk", "mountPath": PSK_FOLDER, "readOnly": True},
        ],
        # No liveness probe: another program may have the port, and an agent whose event loop is blocked terminates
        # itself.
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "metrics"},
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
    }


def selector(mesh: str, component: str) -> Json:
    every = names.labels(mesh, component)
    return {
        key: every[key] for key in every if key.startswith("app.kubernetes.io/") and key != names.MANAGED_BY
    }


def service_account(mesh: Mesh, deployment: AgentDefaults) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": agent_service_account(mesh.name),
            "namespace": deployment.namespace,
            "labels": names.labels(mesh.name, COMPONENT),
            "ownerReferences": [mesh.metadata.owner],
        },
    }


def binding(mesh: Mesh, deployment: AgentDefaults) -> Json:
    """The permissions of the agents' account are in the chart's ClusterRole."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {
            "name": names.agent_binding(mesh.name),
            "labels": names.labels(mesh.name, COMPONENT),
            "ownerReferences": [mesh.metadata.owner],
        },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": deployment.agent_cluster_role,
        },
        "subjects": [
            {
                "kind": "ServiceAccount",
                "name": agent_service_account(mesh.name),
                "namespace": deployment.namespace,
            }
        ],
    }
