"""The operator before it has an API server: quiet, and ended by a signal."""

from __future__ import annotations

import itertools
import os
import signal
import threading

import pytest
from tests.unit.operator.harness import FakeClock, MemoryApi

from wgmesh_operator import startup
from wgmesh_operator.api_client import ApiUnreachable
from wgmesh_operator.api_resources import WatchedResource
from wgmesh_operator.decisions.actions import Json


class AwayApi(MemoryApi):
    """Answers from the fifth call on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = itertools.count(1)

    def list_all(self, watched: WatchedResource) -> tuple[list[Json], str]:
        if next(self.calls) < 5:
            raise ApiUnreachable("connection refused")
        return super().list_all(watched)


def wait_until_told() -> None:
    with startup.ended_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(10)


def test_who_waits_ends_when_it_is_told_to() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        wait_until_told()
    assert ended.value.code == 0
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_same_trouble_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    api, clock = AwayApi(), FakeClock()
    startup.wait_for_api(api, clock)
    assert clock.slept == [startup.POLL_INTERVAL_SECONDS] * 4
    assert next(api.calls) == 5 + len(WatchedResource)
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for the API server to serve meshes: connection refused"
    ]
