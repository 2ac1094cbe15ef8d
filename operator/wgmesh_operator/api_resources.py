"""Where the API has the objects the operator reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from wgmesh_api.roster import GROUP, MESHES, NODES, SIGNER, VERSION
from wgmesh_operator.decisions.actions import Kind
from wgmesh_operator.decisions.model import NODE_KIND
from wgmesh_operator.decisions.names import MANAGED_SELECTOR


@dataclass(frozen=True, slots=True)
class Resource:
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


class Watched(StrEnum):
    """What the operator holds a copy of."""

    MESHES = "meshes"
    MEMBERS = "members"
    NODES = "nodes"
    REQUESTS = "requests"
    SECRETS = "secrets"
    DAEMON_SETS = "daemon sets"


RESOURCES: dict[Kind, Resource] = {
    Kind.MESH: Resource(GROUP, VERSION, MESHES),
    Kind.MEMBER: Resource(GROUP, VERSION, NODES),
    Kind.SECRET: Resource("", "v1", "secrets", namespaced=True),
    Kind.SERVICE_ACCOUNT: Resource("", "v1", "serviceaccounts", namespaced=True),
    Kind.BINDING: Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings"),
    Kind.DAEMON_SET: Resource("apps", "v1", "daemonsets", namespaced=True),
    Kind.REQUEST: Resource("certificates.k8s.io", "v1", "certificatesigningrequests"),
}
WATCHED: dict[Watched, Resource] = {
    Watched.MESHES: RESOURCES[Kind.MESH],
    Watched.MEMBERS: RESOURCES[Kind.MEMBER],
    Watched.NODES: Resource("", "v1", "nodes"),
    Watched.REQUESTS: RESOURCES[Kind.REQUEST],
    Watched.SECRETS: RESOURCES[Kind.SECRET],
    Watched.DAEMON_SETS: RESOURCES[Kind.DAEMON_SET],
}
WATCHED_KINDS: dict[Kind, Watched] = {
    Kind.MESH: Watched.MESHES,
    Kind.MEMBER: Watched.MEMBERS,
    Kind.SECRET: Watched.SECRETS,
    Kind.DAEMON_SET: Watched.DAEMON_SETS,
    Kind.REQUEST: Watched.REQUESTS,
}
KIND_NAMES: dict[Watched, str] = {
    Watched.NODES: NODE_KIND,
    **{watched: kind.value for kind, watched in WATCHED_KINDS.items()},
}
LABEL_SELECTORS: dict[Watched, str] = {
    Watched.SECRETS: MANAGED_SELECTOR,
    Watched.DAEMON_SETS: MANAGED_SELECTOR,
}
FIELD_SELECTORS: dict[Watched, str] = {Watched.REQUESTS: f"spec.signerName={SIGNER}"}
SERVICE_CIDRS = Resource("networking.k8s.io", "v1", "servicecidrs")
EVENTS = Resource("", "v1", "events", namespaced=True)
EVENTS_NAMESPACE = "default"
