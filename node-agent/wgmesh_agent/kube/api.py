"""The little an agent asks of the API server. Blocking calls run in threads; watches run in threads of their own."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog

from wgmesh_agent.kube.reach import Reach
from wgmesh_api import roster

log = structlog.get_logger()
CALL_SECONDS = 10.0
WATCH_SECONDS = 240
RETRY_SECONDS = 2.0
PAGE = 500

Object = Mapping[str, Any]
T = TypeVar("T")


class ApiError(Exception):
    """The API server refused, or could not be reached; says which call and why. `status` is 0 without an answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """Talks with the pod's own service account. Importing the client takes a while, so it happens in `connect`."""

    def __init__(self) -> None:
        self._client: Any = None
        self._reach = Reach()

    async def connect(self) -> None:
        """Loads the client and the pod's credentials. Raises ApiError outside a pod."""
        await asyncio.to_thread(self._connect)

    def _connect(self) -> None:
        from kubernetes.client.configuration import Configuration
        from kubernetes.config.config_exception import ConfigException
        from kubernetes.config.incluster_config import load_incluster_config

        configuration = Configuration()
        try:
            load_incluster_config(client_configuration=configuration)
        except ConfigException as error:
            raise ApiError(f"no service account here: {error}") from error
        self._use(configuration)

    def _use(self, configuration: Any) -> None:
        from kubernetes.client.api_client import ApiClient

        # Whoever asks tries again in good time; urllib3 would at once, and log each attempt.
        configuration.retries = False
        self._client = ApiClient(configuration)

    async def get(self, path: str) -> Object:
        """One object. Raises ApiError, with status 404 if there is none."""
        return await asyncio.to_thread(self._call, "GET", path)

    async def create(self, path: str, body: Object) -> Object:
        return await asyncio.to_thread(self._call, "POST", path, body)

    async def apply(self, path: str, body: Object) -> Object:
        """Server-side apply as this agent's field manager, taking over what another agent's life left."""
        query = [("fieldManager", roster.AGENT_MANAGER), ("force", "true")]
        return await asyncio.to_thread(self._call, "PATCH", path, body, query, "application/apply-patch+yaml")

    def watch(
        self,
        path: str,
        query: list[tuple[str, str]],
        read: Callable[[Object], T],
        replace: Callable[[list[T]], None],
        change: Callable[[str, T], None],
    ) -> threading.Thread:
        """Lists, then watches, for ever, in a thread that ends with the process.

        Args:
            read: called in that thread with each object: reading thousands would hold the event loop. Raises nothing.
            replace: called on the event loop with everything, after each list.
            change: called on the event loop with ADDED, MODIFIED or DELETED and what was read.
        """
        loop = asyncio.get_running_loop()

        def tell(kind: str, body: Object) -> None:
            loop.call_soon_threadsafe(change, kind, read(body))

        def work() -> None:
            while not loop.is_closed():
                try:
                    version, items = self._list(path, query)
                    loop.call_soon_threadsafe(replace, [read(body) for body in items])
                    while version:
                        version = self._follow(path, query, version, tell)
                except ApiError as error:
                    log.debug("watch interrupted", path=path, why=str(error))
                except RuntimeError:  # the loop was closed under us
                    return
                time.sleep(RETRY_SECONDS)

        thread = threading.Thread(target=work, name=f"watch {path}", daemon=True)
        thread.start()
        return thread

    def _list(self, path: str, query: list[tuple[str, str]]) -> tuple[str, list[Object]]:
        items: list[Object] = []
        more = ""
        while True:
            page = [*query, ("limit", str(PAGE)), *([("continue", more)] if more else [])]
            answer = self._call("GET", path, None, page)
            items += answer.get("items") or []
            metadata = answer.get("metadata") or {}
            more = metadata.get("continue") or ""
            if not more:
                return str(metadata.get("resourceVersion") or ""), items

    def _follow(
        self, path: str, query: list[tuple[str, str]], version: str, tell: Callable[[str, Object], None]
    ) -> str:
        """One watch request; the version to go on from, or empty to list anew."""
        watching = [
            *query, ("watch", "true"), ("resourceVersion", version), ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(WATCH_SECONDS)),
        ]  # fmt: skip
        response = self._raw("GET", path, None, watching, None, (CALL_SECONDS, WATCH_SECONDS + 30))
        try:
            pending = b""
            for chunk in response.stream(None, decode_content=False):
                pending += chunk
                *lines, pending = pending.split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    kind, body = event.get("type"), event.get("object") or {}
                    if kind == "ERROR":
                        return ""
                    version = str((body.get("metadata") or {}).get("resourceVersion") or version)
                    if kind != "BOOKMARK":
                        tell(kind, body)
        except Exception as error:
            # urllib3 has a dozen ways to say that a connection broke.
            raise ApiError(f"watch of {path} broke: {error}") from error
        finally:
            response.release_conn()
        return version

    def _call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        query: list[tuple[str, str]] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        response = self._raw(method, path, body, query or [], content_type, CALL_SECONDS)
        try:
            found: Object = json.loads(response.data)
        except ValueError as error:
            raise ApiError(f"{method} {path}: the answer is no JSON") from error
        return found

    def _raw(
        self,
        method: str,
        path: str,
        body: Object | None,
        query: list[tuple[str, str]],
        content_type: str | None,
        timeout: Any,
    ) -> Any:
        headers = {"Accept": "application/json"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        client = self._client
        try:
            request = client.param_serialize(
                method,
                path,
                query_params=query,
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = client.call_api(*request, _request_timeout=timeout).response
            self._reach.answered()
            if response.status < 400:
                return response
            data = response.data
        except Exception as error:
            # urllib3 and the client have a dozen ways to say that nobody answers.
            self._reach.silent(str(error))
            raise ApiError(f"{method} {path}: the API server does not answer: {error}") from error
        raise ApiError(f"{method} {path}: {_reason(data)}", response.status)


def _reason(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (TypeError, ValueError, KeyError):
        return data[:300].decode(errors="replace")


def nodes_path(name: str = "", *, status: bool = False) -> str:
    """The path of WgMeshNodes, of one of them, or of its status."""
    base = f"/apis/{roster.API_VERSION}/{roster.NODES}"
    return f"{base}/{name}{'/status' if status else ''}" if name else base


def meshes_path(name: str = "") -> str:
    base = f"/apis/{roster.API_VERSION}/{roster.MESHES}"
    return f"{base}/{name}" if name else base


def requests_path(name: str = "") -> str:
    base = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    return f"{base}/{name}" if name else base


def signing_request(
    name: str, pem: bytes, *, bootstrap: bool, seconds: int, member: str, member_uid: str
) -> dict[str, Any]:
    """A CertificateSigningRequest for this project's signer; it goes when the WgMeshNode `member` goes."""
    owner = {"apiVersion": roster.API_VERSION, "kind": "WgMeshNode", "name": member, "uid": member_uid}
    usages = ["digital signature", "client auth", *(["server auth"] if bootstrap else [])]
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": {
            "signerName": roster.SIGNER,
            "request": base64.b64encode(pem).decode(),
            "usages": usages,
            "expirationSeconds": seconds,
        },
    }
