"""API resources that the operator reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from wgmesh_api.roster import GROUP, MESHES, NODES, SIGNER, VERSION
from wgmesh_operator.decisions.actions import Kind
from wgmesh_operator.decisions.cluster_node import NODE_KIND
from wgmesh_operator.decisions.names import MANAGED_SELECTOR


@dataclass(frozen=True, slots=True)
class ApiResource:
    """`group` is empty for the core group. `namespaced`: in the operator's namespace."""

    group: str
    version: str
    plural: str
    namespaced: bool = False

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root, *(["namespaces", namespace] if self.namespaced else []), self.plural]
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


class WatchedResource(StrEnum):
    """Resources that the operator caches."""

    MESHES = "meshes"
    MEMBERS = "members"
    NODES = "nodes"
    REQUESTS = "requests"
    SECRETS = "secrets"
    DAEMON_SETS = "daemon sets"


RESOURCES: dict[Kind, ApiResource] = {
    Kind.MESH: ApiResource(GROUP, VERSION, MESHES),
    Kind.MEMBER: ApiResource(GROUP, VERSION, NODES),
    Kind.SECRET: ApiResource("", "v1", "secrets", namespaced=True),
    Kind.SERVICE_ACCOUNT: ApiResource("", "v1", "serviceaccounts", namespaced=True),
    Kind.BINDING: ApiResource("rbac.authorization.k8s.io", "v1", "clusterrolebindings"),
    Kind.DAEMON_SET: ApiResource("apps", "v1", "daemonsets", namespaced=True),
    Kind.REQUEST: ApiResource("certificates.k8s.io", "v1", "certificatesigningrequests"),
}
WATCHED: dict[WatchedResource, ApiResource] = {
    WatchedResource.MESHES: RESOURCES[Kind.MESH],
    WatchedResource.MEMBERS: RESOURCES[Kind.MEMBER],
    WatchedResource.NODES: ApiResource("", "v1", "nodes"),
    WatchedResource.REQUESTS: RESOURCES[Kind.REQUEST],
    WatchedResource.SECRETS: RESOURCES[Kind.SECRET],
    WatchedResource.DAEMON_SETS: RESOURCES[Kind.DAEMON_SET],
}
WATCHED_KINDS: dict[Kind, WatchedResource] = {
    Kind.MESH: WatchedResource.MESHES,
    Kind.MEMBER: WatchedResource.MEMBERS,
    Kind.SECRET: WatchedResource.SECRETS,
    Kind.DAEMON_SET: WatchedResource.DAEMON_SETS,
    Kind.REQUEST: WatchedResource.REQUESTS,
}
KIND_NAMES: dict[WatchedResource, str] = {
    WatchedResource.NODES: NODE_KIND,
    **{watched: kind.value for kind, watched in WATCHED_KINDS.items()},
}
LABEL_SELECTORS: dict[WatchedResource, str] = {
    WatchedResource.SECRETS: MANAGED_SELECTOR,
    WatchedResource.DAEMON_SETS: MANAGED_SELECTOR,
}
FIELD_SELECTORS: dict[WatchedResource, str] = {WatchedResource.REQUESTS: f"spec.signerName={SIGNER}"}
SERVICE_CIDRS = ApiResource("networking.k8s.io", "v1", "servicecidrs")
EVENTS = ApiResource("", "v1", "events", namespaced=True)
EVENTS_NAMESPACE = "default"
