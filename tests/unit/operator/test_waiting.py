"""The operator before it has an API server: alive, not ready, quiet, and ended when told to."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.unit.operator.ground import MemoryApi

from wgmesh_operator import waiting
from wgmesh_operator.cluster import Unreachable
from wgmesh_operator.decisions.actions import Json
from wgmesh_operator.resources import Watched

CHART = Path(__file__).resolve().parents[3] / "charts" / "wgmesh"


class AwayApi(MemoryApi):
    """Answers from the fifth call on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = itertools.count(1)

    def list_all(self, watched: Watched) -> tuple[list[Json], str]:
        if next(self.calls) < 5:
            raise Unreachable("connection refused")
        return super().list_all(watched)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def asked(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_who_waits_is_alive_and_not_ready() -> None:
    port = free_port()
    with waiting.answering(port):
        assert asked(port, "/healthz") == 200
        assert asked(port, waiting.READINESS) == 503
    # kopf's own probe takes the port over.
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_the_chart_asks_for_readiness_as_it_is_answered() -> None:
    template = (CHART / "templates" / "operator" / "deployment.yaml").read_text()
    assert f'path: "{waiting.READINESS}"' in template.partition("readinessProbe:")[2].splitlines()[1]


def wait_until_told(port: int) -> None:
    with waiting.answering(port):
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(10)


def test_who_waits_ends_when_it_is_told_to() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        wait_until_told(free_port())
    assert ended.value.code == 0
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("", 0)) as taken, pytest.raises(OSError, match="in use"):
        wait_until_told(taken.getsockname()[1])


def test_the_same_trouble_is_told_once(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(waiting, "ASK_AGAIN_SECONDS", 0.0)
    api = AwayApi()
    waiting.until_served(api)
    assert next(api.calls) == 5 + len(Watched)
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for the API server to serve meshes: connection refused"
    ]
