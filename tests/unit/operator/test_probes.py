"""Probes of the operator, over both address families, in both phases."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.operator.harness import FakeClock

from wgmesh_operator import probes
from wgmesh_operator.liveness import STUCK_AFTER_SECONDS, LivenessCheck

CHART = Path(__file__).resolve().parents[3] / "charts" / "wgmesh"
HOSTS = ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> probes.Health:
    return probes.Health(LivenessCheck(clock), lambda: {"object: ValueError": 2})


@pytest.fixture
def port(health: probes.Health) -> Iterator[int]:
    with contextlib.ExitStack() as serving:
        yield answering_somewhere(health, serving)


def answering_somewhere(health: probes.Health, serving: contextlib.ExitStack) -> int:
    """Answers on a port that was free a moment before; another program may be quicker, so some are tried."""
    for _ in range(20):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port: int = found.getsockname()[1]
        with contextlib.suppress(OSError):
            serving.enter_context(probes.probe_server(port, health.answer))
            return port
    raise AssertionError("no port is free")


def asked(host: str, port: int, path: str) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize("host", HOSTS)
def test_before_the_api_server_is_found_the_operator_is_alive_and_not_ready(port: int, host: str) -> None:
    assert asked(host, port, probes.LIVENESS) == (200, b"waiting for the API server\n")
    assert asked(host, port, probes.READINESS_PATH)[0] == 503


@pytest.mark.parametrize("host", HOSTS)
def test_afterwards_its_progress_and_what_it_rejected_are_shown(
    port: int, host: str, health: probes.Health, clock: FakeClock
) -> None:
    clock.seconds = 10 * STUCK_AFTER_SECONDS
    health.start()
    assert asked(host, port, probes.READINESS_PATH)[0] == 200
    status, body = asked(host, port, probes.LIVENESS)
    assert (status, json.loads(body)["rejected"]) == (200, {"object: ValueError": 2})
    clock.seconds += STUCK_AFTER_SECONDS + 1
    assert asked(host, port, probes.LIVENESS) == (503, b"no progress for 121 s\n")
    assert asked(host, port, "/other")[0] == 404


def test_where_ipv6_is_switched_off_it_answers_over_ipv4(
    monkeypatch: pytest.MonkeyPatch, health: probes.Health
) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with contextlib.ExitStack() as serving:
        port = answering_somewhere(health, serving)
        assert asked("127.0.0.1", port, probes.LIVENESS)[0] == 200


@pytest.mark.heavy
def test_connections_that_are_held_open_keep_no_probe_out(port: int) -> None:
    with contextlib.ExitStack() as held:
        address, limit = ("127.0.0.1", port), 3 * probes.MAX_CONNECTIONS
        opened = [held.enter_context(socket.create_connection(address, timeout=5)) for _ in range(limit)]
        assert asked("127.0.0.1", port, probes.LIVENESS)[0] == 200
        # closed for the next, long before its time for a request is over
        assert opened[0].recv(1) == b""


def test_a_port_that_is_taken_is_an_error(health: probes.Health) -> None:
    with (
        socket.create_server(("", 0)) as taken,
        pytest.raises(OSError, match="in use"),
        probes.probe_server(taken.getsockname()[1], health.answer),
    ):
        pass


def test_the_chart_requests_what_is_answered() -> None:
    template = (CHART / "templates" / "operator" / "deployment.yaml").read_text()
    for kind, path in (("liveness", probes.LIVENESS), ("readiness", probes.READINESS_PATH)):
        assert path in template.partition(f"{kind}Probe:")[2].splitlines()[1]
