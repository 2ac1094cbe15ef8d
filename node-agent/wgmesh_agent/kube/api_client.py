"""The API server's calls that an agent needs. Blocking calls run in threads; each watch has its own thread.

Every failure of a call is an ApiError: callers have nothing else to catch.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from wgmesh_agent.kube.availability_log import AvailabilityLog
from wgmesh_agent.kube.list_watch import WATCH_SECONDS, Freshness, ListWatch, Object
from wgmesh_api import roster

CALL_SECONDS = 10.0
BODY_SECONDS = 60.0
"""Maximum of a complete response: a page of 500 members is some 2 MB."""
SILENCE_SECONDS = WATCH_SECONDS + 30.0
CHUNK_BYTES = 64 * 1024
MOST_BYTES = 64 * 1024 * 1024

T = TypeVar("T")


class ApiError(Exception):
    """The API server rejected a call, or was unreachable; names the call and the cause. `status` is 0 without a
    response.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class KubernetesApi:
    """Uses the pod's own service account. Importing the client takes a while, so `connect` does that."""

    def __init__(self) -> None:
        self._client: Any = None
        self._reach = AvailabilityLog()

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
            raise ApiError(f"this pod has no service account: {error}") from error
        self._use(configuration)

    def _use(self, configuration: Any) -> None:
        from kubernetes.client.api_client import ApiClient

        # Callers retry with their own backoff; urllib3 would retry at once, and log each attempt.
        configuration.retries = False
        self._client = ApiClient(configuration)

    async def get(self, path: str) -> Object:
        """One object. Raises ApiError, with status 404 if there is none."""
        return await asyncio.to_thread(self._call, "GET", path)

    async def create(self, path: str, body: Object) -> Object:
        return await asyncio.to_thread(self._call, "POST", path, body)

    async def apply(self, path: str, body: Object) -> Object:
        """Server-side apply as this agent's field manager, taking ownership of fields of its earlier processes."""
        query = [("fieldManager", roster.AGENT_MANAGER), ("force", "true")]
        return await asyncio.to_thread(self._call, "PATCH", path, body, query, "application/apply-patch+yaml")

    def watch(
        self,
        path: str,
        query: list[tuple[str, str]],
        read: Callable[[Object], T],
        replace: Callable[[list[T]], None],
        change: Callable[[str, T], None],
    ) -> Freshness:
        """Lists, then watches, indefinitely, in its own thread; returns the age of its data. `ListWatch` does
        the rest.
        """
        watch = ListWatch(self, path, query, read, replace, change)
        watch.start()
        return watch.freshness

    def read(self, path: str, query: list[tuple[str, str]]) -> Object:
        """One complete response, for a list. Raises ApiError."""
        return self._call("GET", path, None, query)

    def stream(self, path: str, query: list[tuple[str, str]]) -> Iterator[bytes]:
        """A streamed response in chunks of any size, for a watch. Raises ApiError."""
        try:
            response = self._send("GET", path, None, query, None, (CALL_SECONDS, SILENCE_SECONDS))
            status = response.status
            refused = b"" if status < 400 else self._body(response)
        except Exception as error:
            raise self._silent("GET", path, error) from error
        self._reach.up()
        if status >= 400:
            raise ApiError(f"GET {path}: {_reason(refused)}", status)
        try:
            yield from response.stream(None, decode_content=False)
        except Exception as error:
            # urllib3 has a dozen exceptions for a broken connection.
            raise ApiError(f"watch of {path} broke: {error}") from error
        finally:
            # An unread rest must not be parsed as the next response.
            response.close()
            response.release_conn()

    def _call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        query: list[tuple[str, str]] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        try:
            response = self._send(method, path, body, query or [], content_type, CALL_SECONDS)
            status, data = response.status, self._body(response)
        except Exception as error:
            raise self._silent(method, path, error) from error
        self._reach.up()
        if status >= 400:
            raise ApiError(f"{method} {path}: {_reason(data)}", status)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ApiError(f"{method} {path}: the response is not JSON") from error
        if not isinstance(found, dict):
            raise ApiError(f"{method} {path}: the response is not an object")
        return found

    def _send(
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
        request = self._client.param_serialize(
            method, path, query_params=query, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        return self._client.call_api(*request, _request_timeout=timeout).response

    def _body(self, response: Any) -> bytes:
        """The complete body, which is part of the call: most interrupted calls fail here."""
        deadline, parts, size = time.monotonic() + BODY_SECONDS, list[bytes](), 0
        try:
            for part in response.stream(CHUNK_BYTES, decode_content=True):
                parts.append(part)
                size += len(part)
                if size > MOST_BYTES or time.monotonic() > deadline:
                    raise ApiError(f"the response exceeds {MOST_BYTES} bytes or {BODY_SECONDS:g} s")
        except BaseException:
            response.close()
            raise
        finally:
            response.release_conn()
        return b"".join(parts)

    def _silent(self, method: str, path: str, error: Exception) -> ApiError:
        """urllib3 and the client have a dozen exceptions for a missing or incomplete response."""
        self._reach.down(str(error))
        return ApiError(f"{method} {path}: the API server does not respond: {error}")


def _reason(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (TypeError, ValueError, KeyError, RecursionError):
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
    """A CertificateSigningRequest for this project's signer; it is deleted with the WgMeshNode `member`."""
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
