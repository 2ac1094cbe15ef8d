"""An unavailable API server: each call fails at once, and the outage is logged once."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from kubernetes.client.configuration import Configuration
from structlog.testing import capture_logs

from wgmesh_agent.kube.api_client import ApiError, KubernetesApi, meshes_path


class NoSuchMesh(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"message": "there is none"}'
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        logging.getLogger("server").debug(format, *args)


@contextmanager
def api_server(port: int) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", port), NoSuchMesh) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


async def fails_with(api: KubernetesApi, status: int) -> None:
    with pytest.raises(ApiError) as told:
        await api.get(meshes_path("blue"))
    assert told.value.status == status


async def test_an_api_server_that_is_away_is_told_once_and_so_is_its_return(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    api = KubernetesApi()
    api._use(Configuration(host=f"http://127.0.0.1:{port}"))
    with capture_logs() as logs, caplog.at_level(logging.WARNING):
        for _ in range(3):
            await fails_with(api, 0)
        with api_server(port):
            for _ in range(3):
                await fails_with(api, 404)
        await fails_with(api, 0)
    away, back = "API server unreachable", "API server reachable again"
    assert [one["event"] for one in logs if one["log_level"] == "warning"] == [away, back, away]
    # Of its libraries neither.
    assert caplog.messages == []
