"""Calls on the wire, judged by an HTTP server that writes down what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import urllib3
from kubernetes.config import ConfigException

from wgmesh_operator.api_client import ApiError, ApiUnreachable, KubernetesClusterApi
from wgmesh_operator.api_resources import WatchedResource
from wgmesh_operator.decisions.actions import (
    Action,
    Apply,
    Create,
    Delete,
    Emit,
    Kind,
    Replace,
    SetFinalizers,
)

Json = dict[str, Any]


class Server(ThreadingHTTPServer):
    """Answers from `answers` in turn, the last one repeated; `asked` is (method, path, query, type, body)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, Any]] = [(200, {"metadata": {"name": "x"}})]
        self.asked: list[tuple[str, str, dict[str, str], str, Any]] = []
        self.tokens: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        content_type = self.headers.get("Content-Type", "")
        self.server.asked.append((self.command, parts.path, dict(parse_qsl(parts.query)), content_type, body))
        self.server.tokens.append(self.headers.get("authorization", ""))
        answers = self.server.answers
        status, content = answers.pop(0) if len(answers) > 1 else answers[0]
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cluster(server: Server) -> Iterator[KubernetesClusterApi]:
    with urllib3.PoolManager() as pool:
        url = f"http://127.0.0.1:{server.server_port}"
        yield KubernetesClusterApi(pool, url, "ns", lambda: {"authorization": "Bearer t"}, "pod-1")


def manifest(name: str = "x") -> Json:
    return {"kind": "K", "metadata": {"name": name}}


MERGE, APPLY, JSON = "application/merge-patch+json", "application/apply-patch+yaml", "application/json"
FORCED = {"fieldManager": "wgmesh-operator", "force": "true"}
MANAGED = {"fieldManager": "wgmesh-operator"}


@pytest.mark.parametrize(
    ("action", "asked"),
    [
        (
            Apply(Kind.DAEMON_SET, manifest()),
            ("PATCH", "/apis/apps/v1/namespaces/ns/daemonsets/x", FORCED, APPLY, manifest()),
        ),
        (
            Apply(Kind.MESH, manifest(), "status"),
            ("PATCH", "/apis/wgmesh.dev/v1alpha1/wgmeshes/x/status", FORCED, APPLY, manifest()),
        ),
        (
            Create(Kind.SECRET, manifest()),
            ("POST", "/api/v1/namespaces/ns/secrets", MANAGED, JSON, manifest()),
        ),
        (
            Replace(Kind.REQUEST, manifest(), "approval"),
            (
                "PUT",
                "/apis/certificates.k8s.io/v1/certificatesigningrequests/x/approval",
                MANAGED,
                JSON,
                manifest(),
            ),
        ),
        (
            SetFinalizers(Kind.MEMBER, "blue.n0", ("a",), "7"),
            (
                "PATCH",
                "/apis/wgmesh.dev/v1alpha1/wgmeshnodes/blue.n0",
                {},
                MERGE,
                {"metadata": {"finalizers": ["a"], "resourceVersion": "7"}},
            ),
        ),
        (
            Delete(Kind.BINDING, "b"),
            (
                "DELETE",
                "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/b",
                {},
                JSON,
                {"propagationPolicy": "Background"},
            ),
        ),
        (
            Delete(Kind.DAEMON_SET, "d", "uid-1", wait_for_owned=True),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/ns/daemonsets/d",
                {},
                JSON,
                {"propagationPolicy": "Foreground", "preconditions": {"uid": "uid-1"}},
            ),
        ),
    ],
)
def test_each_action_is_one_call(
    server: Server, cluster: KubernetesClusterApi, action: Action, asked: Any
) -> None:
    cluster.execute(action)
    assert server.asked == [asked]
    assert server.tokens == ["Bearer t"]


def test_answers_are_the_object_as_it_is(server: Server, cluster: KubernetesClusterApi) -> None:
    server.answers = [(200, {"metadata": {"name": "x", "resourceVersion": "9"}})]
    assert cluster.execute(Apply(Kind.SECRET, manifest())) == server.answers[0][1]


@pytest.mark.parametrize(
    ("answer", "is_there"),
    [
        ({"kind": "Status", "status": "Success"}, False),
        ({"kind": "Secret", "metadata": {"name": "x"}}, False),
        ({"kind": "WgMeshNode", "metadata": {"name": "x", "finalizers": ["f"]}}, True),
    ],
)
def test_what_is_deleted_is_there_as_long_as_finalizers_hold_it(
    server: Server, cluster: KubernetesClusterApi, answer: Json, is_there: bool
) -> None:
    server.answers = [(200, answer)]
    assert (cluster.execute(Delete(Kind.MEMBER, "x")) is not None) is is_there


def test_an_object_let_go_by_its_last_finalizer_is_gone(
    server: Server, cluster: KubernetesClusterApi
) -> None:
    server.answers = [(200, {"metadata": {"name": "x", "deletionTimestamp": "2030-01-01T00:00:00Z"}})]
    assert cluster.execute(SetFinalizers(Kind.MEMBER, "x", (), "1")) is None


def test_what_is_gone_already_is_deleted(server: Server, cluster: KubernetesClusterApi) -> None:
    server.answers = [(404, {"kind": "Status", "reason": "NotFound"})]
    assert cluster.execute(Delete(Kind.SECRET, "x")) is None


@pytest.mark.parametrize(("status", "is_conflict"), [(409, True), (404, True), (403, False), (422, False)])
def test_refusals_say_why(
    server: Server, cluster: KubernetesClusterApi, status: int, is_conflict: bool
) -> None:
    server.answers = [(status, {"kind": "Status", "reason": "R", "message": "because"})]
    with pytest.raises(ApiError, match="because") as refused:
        cluster.execute(Apply(Kind.SECRET, manifest()))
    assert (refused.value.status, refused.value.reason) == (status, "R")
    assert refused.value.is_conflict is is_conflict


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_cannot_is_no_refusal(
    server: Server, cluster: KubernetesClusterApi, status: int
) -> None:
    server.answers = [(status, b"upstream connect error")]
    with pytest.raises(ApiUnreachable, match="upstream connect error"):
        cluster.execute(Apply(Kind.SECRET, manifest()))


def test_nobody_answering_is_told() -> None:
    with urllib3.PoolManager() as pool:
        nowhere = KubernetesClusterApi(pool, "http://127.0.0.1:1", "ns", dict)
        with pytest.raises(ApiUnreachable, match="GET /api/v1/nodes"):
            nowhere.list_all(WatchedResource.NODES)


@pytest.mark.parametrize(
    "fault", [ConfigException("Token file exists but empty."), FileNotFoundError("token")]
)
def test_a_token_that_cannot_be_read_is_a_server_that_cannot_be_reached(
    server: Server, fault: Exception
) -> None:
    def authorization() -> dict[str, str]:
        raise fault

    with urllib3.PoolManager() as pool:
        cluster = KubernetesClusterApi(pool, f"http://127.0.0.1:{server.server_port}", "ns", authorization)
        with pytest.raises(ApiUnreachable, match="the service account's token cannot be read"):
            cluster.list_all(WatchedResource.NODES)
    assert server.asked == []


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b"\xff\xfe", b"[1]", b"{}", b'{"items": 5, "metadata": {"resourceVersion": "5"}}'],
)
def test_an_answer_that_is_not_a_list_is_no_empty_list(
    server: Server, cluster: KubernetesClusterApi, body: bytes
) -> None:
    server.answers = [(200, body)]
    with pytest.raises(ApiUnreachable, match="GET nodes: the response is not a list"):
        cluster.list_all(WatchedResource.NODES)


def test_lists_are_read_page_by_page(server: Server, cluster: KubernetesClusterApi) -> None:
    what = {"apiVersion": "apps/v1", "kind": "DaemonSetList"}
    server.answers = [
        (200, {**what, "items": [{"n": 1}], "metadata": {"continue": "c", "resourceVersion": "5"}}),
        (200, {**what, "items": [{"n": 2}], "metadata": {"resourceVersion": "5"}}),
    ]
    items, version = cluster.list_all(WatchedResource.DAEMON_SETS)
    assert ([item["n"] for item in items], version) == ([1, 2], "5")
    assert [query.get("continue") for _, _, query, _, _ in server.asked] == [None, "c"]


def test_what_is_listed_says_what_it_is_as_what_is_asked_for_by_name_does(
    server: Server, cluster: KubernetesClusterApi
) -> None:
    # Items of the API server's own kinds do not say it themselves.
    page = {"kind": "DaemonSetList", "apiVersion": "apps/v1", "items": [{"metadata": {"name": "a"}}]}
    server.answers = [(200, page | {"metadata": {"resourceVersion": "5"}})]
    item = {"kind": "DaemonSet", "apiVersion": "apps/v1", "metadata": {"name": "a"}}
    assert cluster.list_all(WatchedResource.DAEMON_SETS) == ([item], "5")


def test_lists_ask_for_what_is_the_operators_alone(server: Server, cluster: KubernetesClusterApi) -> None:
    server.answers = [(200, {"items": [], "metadata": {"resourceVersion": "5"}})]
    for watched in (WatchedResource.SECRETS, WatchedResource.DAEMON_SETS, WatchedResource.REQUESTS):
        cluster.list_all(watched)
    queries = [query for _, _, query, _, _ in server.asked]
    assert [query.get("labelSelector") for query in queries] == [
        "app.kubernetes.io/managed-by=wgmesh-operator",
        "app.kubernetes.io/managed-by=wgmesh-operator",
        None,
    ]
    assert queries[2]["fieldSelector"] == "spec.signerName=wgmesh.dev/node"


def test_ranges_of_services_are_asked_for_where_there_are_any(
    server: Server, cluster: KubernetesClusterApi
) -> None:
    server.answers = [(200, {"items": [{"spec": {"cidrs": ["10.96.0.0/16", "fd00::/112"]}}]})]
    assert cluster.service_cidrs() == ["10.96.0.0/16", "fd00::/112"]
    server.answers = [(404, {"kind": "Status"})]
    assert cluster.service_cidrs() == []


EVENT = Emit(Kind.MESH, "blue", "uid-1", "Ready", "3 of 3 members are ready")


def test_events_of_cluster_wide_objects_go_into_default(
    server: Server, cluster: KubernetesClusterApi
) -> None:
    cluster.execute(EVENT)
    ((method, path, _, _, body),) = server.asked
    assert (method, path) == ("POST", "/api/v1/namespaces/default/events")
    assert body["metadata"]["namespace"] == "default"
    assert body["metadata"]["name"].startswith("blue.")
    assert body["involvedObject"] == {
        "apiVersion": "wgmesh.dev/v1alpha1",
        "kind": "WgMesh",
        "name": "blue",
        "uid": "uid-1",
    }
    assert (body["type"], body["reason"]) == ("Normal", "Ready")
    assert body["reportingInstance"] == "pod-1"


def test_an_event_told_before_is_brought_up_to_date(server: Server, cluster: KubernetesClusterApi) -> None:
    server.answers = [(409, {"kind": "Status", "reason": "AlreadyExists"}), (200, {})]
    cluster.execute(EVENT)
    (_, _, _, _, made), (method, path, _, content_type, body) = server.asked
    assert (method, content_type) == ("PATCH", MERGE)
    assert path == f"/api/v1/namespaces/default/events/{made['metadata']['name']}"
    assert set(body) == {"lastTimestamp"}
