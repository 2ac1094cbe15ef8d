"""Actions on the cluster. A plan is a list of these; each may be repeated without harm."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = dict[str, Any]


class Kind(StrEnum):
    """Everything the operator writes."""

    MESH = "WgMesh"
    MEMBER = "WgMeshNode"
    SECRET = "Secret"  # noqa: S105 - a kind, no password
    SERVICE_ACCOUNT = "ServiceAccount"
    BINDING = "ClusterRoleBinding"
    DAEMON_SET = "DaemonSet"
    REQUEST = "CertificateSigningRequest"


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of `manifest`, or of its `subresource`, overriding other field managers."""

    kind: Kind
    manifest: Json = field(repr=False)
    subresource: str = ""

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Create:
    """Creates `manifest` unless it exists: an existing object is unchanged."""

    kind: Kind
    manifest: Json = field(repr=False)

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Replace:
    """Replaces exactly the version that `manifest` names; if that has changed, nothing happens."""

    kind: Kind
    manifest: Json = field(repr=False)
    subresource: str = ""

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class SetFinalizers:
    """Sets the finalizers of exactly this version of an object."""

    kind: Kind
    name: str
    finalizers: tuple[str, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes the object of this uid. `wait_for_owned`: it is removed only after everything it owns."""

    kind: Kind
    name: str
    uid: str = ""
    wait_for_owned: bool = False


@dataclass(frozen=True, slots=True)
class Emit:
    """An Event on a WgMesh or WgMeshNode."""

    kind: Kind
    name: str
    uid: str
    reason: str
    message: str
    warning: bool = False


Action = Apply | Create | Replace | SetFinalizers | Delete | Emit
