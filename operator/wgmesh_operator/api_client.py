"""Client of the Kubernetes API: one call for each action, through the `kubernetes` client's connections.

Bodies stay the dictionaries they are in JSON. Calls block: the controller runs them in threads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlencode

import urllib3

from wgmesh_api.fields import read_list, read_mapping, read_text, write_time
from wgmesh_api.roster import API_VERSION, OPERATOR_MANAGER
from wgmesh_operator.api_resources import (
    EVENTS,
    EVENTS_NAMESPACE,
    FIELD_SELECTORS,
    LABEL_SELECTORS,
    RESOURCES,
    SERVICE_CIDRS,
    WATCHED,
    WatchedResource,
)
from wgmesh_operator.decisions.actions import (
    Action,
    Apply,
    Create,
    Delete,
    Emit,
    Json,
    Replace,
    SetFinalizers,
)

REQUEST_SECONDS = 30.0
MAX_CONNECTIONS = 8
_PAGE = 500
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class ApiError(Exception):
    """The API server rejected a call."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        super().__init__(message or reason or f"status {status}")

    @property
    def is_conflict(self) -> bool:
        """Another client changed the object in the meantime, or it already exists, or was deleted: read it again."""
        return self.status in (404, 409)


class ApiUnreachable(Exception):
    """The API server did not respond, or could not."""


class ClusterApi(Protocol):
    """The API as the controller uses it."""

    def execute(self, action: Action) -> Json | None:
        """Carries out `action`; returns the object afterwards, None if it was deleted (or for an Event).

        Raises:
            ApiError: the API server rejected it.
            ApiUnreachable: it did not respond.
        """
        ...

    def list_all(self, watched: WatchedResource) -> tuple[list[Json], str]:
        """All objects and the version of the list. Raises like `execute`."""
        ...

    def service_cidrs(self) -> list[str]:
        """The ranges of services; none if the API server does not report them (before Kubernetes 1.33)."""
        ...


class KubernetesClusterApi:
    """The real API. `namespace` is the operator's; `authorization` returns the header of each call."""

    def __init__(
        self,
        pool: urllib3.PoolManager,
        server: str,
        namespace: str,
        authorization: Callable[[], dict[str, str]],
        instance: str = "",
    ) -> None:
        self._pool = pool
        self._server = server.rstrip("/")
        self._namespace = namespace
        self._authorization = authorization
        self._instance = instance

    @classmethod
    def from_environment(cls, namespace: str, instance: str = "") -> KubernetesClusterApi:
        """In a pod by its service account, elsewhere by the kubeconfig. Raises ApiUnreachable without either."""
        from kubernetes import client, config

        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            try:
                config.load_kube_config(client_configuration=configuration)
            except config.ConfigException as error:
                raise ApiUnreachable(
                    f"neither a pod's service account nor a kubeconfig leads to an API server: {error}"
                ) from error
        configuration.connection_pool_maxsize = MAX_CONNECTIONS
        pool = client.ApiClient(configuration).rest_client.pool_manager

        def authorization() -> dict[str, str]:
            return {
                setting["key"]: setting["value"]
                for setting in configuration.auth_settings().values()
                if setting["in"] == "header" and setting["value"]
            }

        return cls(pool, configuration.host, namespace, authorization, instance)

    def execute(self, action: Action) -> Json | None:
        match action:
            case Apply():
                return self._write("PATCH", action, self._forced(action), action.manifest, _APPLY)
            case Create():
                query = {"fieldManager": OPERATOR_MANAGER}
                return self._write("POST", action, query, action.manifest, named=False)
            case Replace():
                query = {"fieldManager": OPERATOR_MANAGER}
                return self._write("PUT", action, query, action.manifest)
            case SetFinalizers():
                metadata = {
                    "finalizers": list(action.finalizers),
                    "resourceVersion": action.resource_version,
                }
                body = self._write("PATCH", action, {}, {"metadata": metadata}, _MERGE)
                is_released = body["metadata"].get("deletionTimestamp") and not action.finalizers
                return None if is_released else body
            case Delete():
                return self._delete(action)
            case Emit():
                self._emit(action)
                return None

    def list_all(self, watched: WatchedResource) -> tuple[list[Json], str]:
        resource = WATCHED[watched]
        query = {"limit": str(_PAGE)}
        if watched in LABEL_SELECTORS:
            query["labelSelector"] = LABEL_SELECTORS[watched]
        if watched in FIELD_SELECTORS:
            query["fieldSelector"] = FIELD_SELECTORS[watched]
        items: list[Json] = []
        while True:
            page = self._call("GET", resource.path(self._namespace), query)
            # in a list of built-in objects only the list states their kind
            of_kind = {
                "apiVersion": page.get("apiVersion"),
                "kind": str(page.get("kind")).removesuffix("List"),
            }
            metadata = read_mapping(page, "metadata")
            if not read_text(metadata, "resourceVersion") or not isinstance(page.get("items") or [], list):
                # parsed as an empty list, it would mean that all objects were deleted
                raise ApiUnreachable(f"GET {resource.plural}: the response is not a list")
            items += [of_kind | item for item in read_list(page, "items") if isinstance(item, dict)]
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    def service_cidrs(self) -> list[str]:
        try:
            page = self._call("GET", SERVICE_CIDRS.path(self._namespace), {})
        except ApiError as error:
            if error.status == 404:
                return []
            raise
        items = (item for item in read_list(page, "items") if isinstance(item, dict))
        return [text for item in items for text in read_list(read_mapping(item, "spec"), "cidrs")]

    def _forced(self, action: Apply) -> dict[str, str]:
        return {"fieldManager": OPERATOR_MANAGER, "force": "true"}

    def _write(
        self,
        method: str,
        action: Apply | Create | Replace | SetFinalizers,
        query: dict[str, str],
        body: Json,
        content_type: str = "application/json",
        *,
        named: bool = True,
    ) -> Json:
        subresource = action.subresource if isinstance(action, Apply | Replace) else ""
        path = RESOURCES[action.kind].path(self._namespace, action.name if named else "", subresource)
        return self._call(method, path, query, body, content_type)

    def _delete(self, action: Delete) -> Json | None:
        options: Json = {"propagationPolicy": "Foreground" if action.wait_for_owned else "Background"}
        if action.uid:
            options["preconditions"] = {"uid": action.uid}
        try:
            answer = self._call(
                "DELETE", RESOURCES[action.kind].path(self._namespace, action.name), {}, options
            )
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return answer if answer.get("kind") != "Status" and _is_there(answer) else None

    def _emit(self, action: Emit) -> None:
        now = write_time(datetime.now(UTC))
        digest = hashlib.sha256(f"{action.uid} {action.reason} {action.message}".encode()).hexdigest()[:16]
        name = f"{action.name[:200]}.{digest}"
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": EVENTS_NAMESPACE},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": action.kind.value,
                "name": action.name,
                "uid": action.uid,
            },
            "reason": action.reason,
            "message": action.message[:1024],
            "type": "Warning" if action.warning else "Normal",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": OPERATOR_MANAGER},
            "reportingComponent": f"{OPERATOR_MANAGER}.{API_VERSION.split('/')[0]}",
            "reportingInstance": self._instance,
        }
        try:
            self._call("POST", EVENTS.path(EVENTS_NAMESPACE), {}, event)
        except ApiError as error:
            if error.status != 409:
                raise
            # reported before: the same again
            path = EVENTS.path(EVENTS_NAMESPACE, name)
            self._call("PATCH", path, {}, {"lastTimestamp": now}, _MERGE)

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        try:
            identity = self._authorization()
        except Exception as error:
            # kubelet replaces the token's file: for a moment it may be absent or empty, and the client raises
            # exceptions of any kind
            raise ApiUnreachable(f"the service account's token cannot be read: {error}") from error
        try:
            answer = self._pool.request(
                method,
                f"{self._server}{path}" + (f"?{urlencode(query)}" if query else ""),
                body=None if body is None else json.dumps(body).encode(),
                headers={
                    "Accept": "application/json",
                    "Content-Type": content_type,
                    "User-Agent": OPERATOR_MANAGER,
                    **identity,
                },
                timeout=REQUEST_SECONDS,
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ApiUnreachable(f"{method} {path}: {error}") from error
        content = _decoded(answer.data)
        if answer.status in (429, 502, 503, 504):
            raise ApiUnreachable(f"{method} {path}: status {answer.status} {content.get('message', '')}")
        if answer.status >= 300:
            raise ApiError(answer.status, str(content.get("reason", "")), str(content.get("message", "")))
        return content


def _decoded(data: bytes) -> Json:
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError):
        return {"message": data[:200].decode(errors="replace")}
    return content if isinstance(content, dict) else {}


def _is_there(body: Json) -> bool:
    """Whether the object still exists after a delete, to be released by its finalizers."""
    return bool((body.get("metadata") or {}).get("finalizers"))
