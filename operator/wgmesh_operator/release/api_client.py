"""API calls of the chart's hook and test, with the service account of their pod."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wgmesh_api.roster import GROUP, MESHES, NODES, VERSION

REQUEST_SECONDS = 10


class ApiError(OSError):
    """The API server rejected a call or did not respond; names the call."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """An existing WgMesh; `leaving` once its deletion was requested, `ready` by its status."""

    name: str
    leaving: bool = False
    nodes: str = ""
    links: str = ""


class ReleaseApi:
    """The API server. Each call raises ApiError."""

    def __init__(self) -> None:
        # The client takes a second to load: code that needs no cluster runs without it.
        from kubernetes import client, config

        try:
            config.load_incluster_config()
        except config.ConfigException as error:
            raise ApiError(f"this is not a pod with a service account: {error}") from error
        self._objects = client.CustomObjectsApi()
        self._admission = client.AdmissionregistrationV1Api()

    def meshes(self) -> Sequence[Mesh]:
        """All meshes; none if the API server does not know the resource (any more)."""
        found = self._call("list meshes", self._objects.list_cluster_custom_object, GROUP, VERSION, MESHES)
        return [_mesh(item) for item in (found or {}).get("items", [])]

    def delete(self, name: str) -> None:
        """Requests the deletion of a mesh; a mesh that is already deleted is no error."""
        self._call(
            f"delete mesh {name}", self._objects.delete_cluster_custom_object, GROUP, VERSION, MESHES, name
        )

    def has_members(self) -> bool:
        """Whether the API server knows the resource of members."""
        return (
            self._call("list members", self._objects.list_cluster_custom_object, GROUP, VERSION, NODES)
            is not None
        )

    def has_policy(self, name: str) -> bool:
        """Whether an admission policy of this name exists and is bound."""
        policy = self._call("read a policy", self._admission.read_validating_admission_policy, name)
        bound = self._call("read a binding", self._admission.read_validating_admission_policy_binding, name)
        return policy is not None and bound is not None

    def _call(self, what: str, function: Callable[..., Any], *arguments: str) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return function(*arguments, _request_timeout=REQUEST_SECONDS)
        except ApiException as error:
            if error.status == http.client.NOT_FOUND:
                return None
            raise ApiError(
                f"the API server does not permit to {what}: {error.status} {error.reason}"
            ) from error
        except HTTPError as error:
            raise ApiError(f"the API server does not respond, cannot {what}: {error}") from error


def _mesh(item: dict[str, Any]) -> Mesh:
    metadata, status = item["metadata"], item.get("status") or {}
    return Mesh(
        name=metadata["name"],
        leaving="deletionTimestamp" in metadata,
        nodes=status.get("nodes", ""),
        links=status.get("links", ""),
    )
