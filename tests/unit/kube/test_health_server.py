"""Health and metrics as the kubelet and Prometheus ask for them."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs
from tests.unit.clock import TestClock

from wgmesh_agent.kube import health_server as module
from wgmesh_agent.kube.health_server import STUCK_SECONDS, HealthServer
from wgmesh_agent.kube.metrics import MetricsSnapshot
from wgmesh_agent.mesh.membership.policy import STALE_ROSTER_SECONDS

LOOK = MetricsSnapshot(
    backend="userspace",
    interface="wgblue",
    mtu=1420,
    bootstrap=False,
    peers=(),
    expected=2,
    reachable=1,
    members={"alive": 2},
    refused={},
    certificate_not_after=datetime(2026, 12, 1, tzinfo=UTC),
    traffic=None,
)


class Looker:
    """Result of a snapshot."""

    def __init__(self) -> None:
        self.look: MetricsSnapshot | None = None
        self.error: Exception | None = None
        self.threads: set[int] = set()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.roster_age: float | None = 1.0
        self.looks = 0

    async def __call__(self) -> MetricsSnapshot | None:
        self.looks += 1
        self.threads.add(threading.get_ident())
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return self.look


@pytest.fixture
def looker() -> Looker:
    return Looker()


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
async def health(looker: Looker, clock: TestClock) -> AsyncIterator[HealthServer]:
    made = HealthServer(0, looker, lambda: looker.roster_age, clock, retry_seconds=0.01, shared_seconds=60.0)
    await made.start()
    yield made
    await asyncio.to_thread(made.stop)


async def ask(health: HealthServer, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    def work() -> tuple[int, str]:
        connection = http.client.HTTPConnection(host, health.port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    return await asyncio.to_thread(work)


async def test_a_node_is_alive_before_it_is_ready(health: HealthServer) -> None:
    assert await ask(health, "/healthz") == (200, "ok\n")
    assert (await ask(health, "/readyz"))[0] == 503
    health.joined(dict)
    assert await ask(health, "/readyz") == (200, "ok\n")
    health.left()
    assert (await ask(health, "/readyz"))[0] == 503


async def test_a_component_that_is_down_is_named_by_readiness(health: HealthServer) -> None:
    down = {"reconcile": "OSError()"}
    health.joined(lambda: down)
    assert await ask(health, "/readyz") == (503, "not running: reconcile\n")
    down.clear()
    assert (await ask(health, "/readyz"))[0] == 200


async def test_a_roster_that_nobody_confirms_makes_a_node_not_ready(
    health: HealthServer, looker: Looker
) -> None:
    health.joined(dict)
    looker.roster_age = STALE_ROSTER_SECONDS + 1
    assert await ask(health, "/readyz") == (
        503,
        "the roster is 301 s old: the API server cannot be watched\n",
    )
    # One that starts while the API server is away is a member by what it remembers.
    looker.roster_age = None
    assert (await ask(health, "/readyz"))[0] == 200


async def test_a_loop_that_turns_no_more_is_told(health: HealthServer, clock: TestClock) -> None:
    health.joined(dict)
    clock.seconds += STUCK_SECONDS
    assert (await ask(health, "/healthz"))[0] == 200
    clock.seconds += 0.1
    assert (await ask(health, "/healthz"))[0] == 503


async def test_a_beat_says_that_the_loop_turns(health: HealthServer, clock: TestClock) -> None:
    health.joined(dict)
    clock.seconds += STUCK_SECONDS + 1
    assert (await health.answer("/healthz")).status == 503
    beat = asyncio.create_task(health.heartbeat())
    await asyncio.sleep(0)
    assert (await health.answer("/healthz")).status == 200
    beat.cancel()


STUCK = """
import asyncio, sys, time
from wgmesh_agent.kube.health_server import HealthServer
from wgmesh_agent.runtime.clock import SystemClock

async def main():
    health = HealthServer(0, None, None, SystemClock(), end_seconds=1.5)
    beat = asyncio.create_task(health.heartbeat())
    await asyncio.sleep(0.1)
    if sys.argv[1] == "ends":
        beat.cancel()
        await asyncio.sleep(0)
    if sys.argv[1] == "lives":
        await asyncio.sleep(2)
    else:
        time.sleep(2)

asyncio.run(main())
"""


@pytest.mark.heavy
@pytest.mark.parametrize(("how", "status"), [("stuck", 1), ("lives", 0), ("ends", 0)])
async def test_an_agent_whose_loop_is_stuck_ends_itself_and_says_where_it_was(how: str, status: int) -> None:
    """Not one whose loop turns, and not one that ends."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STUCK, how, stderr=asyncio.subprocess.PIPE
    )
    _, said = await program.communicate()
    assert program.returncode == status
    assert (b"in main" in said) is (how == "stuck")


async def test_metrics_before_there_is_a_session_are_of_the_process_alone(health: HealthServer) -> None:
    status, body = await ask(health, "/metrics")
    assert status == 200
    assert 'wgmesh_build_info{version="' in body
    assert "process_resident_memory_bytes" in body
    assert "wgmesh_peers" not in body


async def test_metrics_of_a_session_are_read_on_its_own_event_loop(
    health: HealthServer, looker: Looker
) -> None:
    looker.look = LOOK
    status, body = await ask(health, "/metrics")
    assert status == 200
    assert "wgmesh_peers_expected 2.0" in body
    assert looker.threads == {threading.get_ident()}


async def test_a_session_that_ends_meanwhile_is_told_in_one_line(
    health: HealthServer, looker: Looker
) -> None:
    looker.error = RuntimeError("closed")
    assert await ask(health, "/metrics") == (503, "no metrics now: see the agent's log\n")


async def test_a_busy_event_loop_is_not_waited_for_for_ever(
    health: HealthServer, looker: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looker.may_end.clear()
    monkeypatch.setattr(module, "SNAPSHOT_TIMEOUT_SECONDS", 0.05)
    assert await ask(health, "/metrics") == (503, "the event loop does not answer\n")


async def test_whoever_asks_within_seconds_shares_one_look(health: HealthServer, looker: Looker) -> None:
    looker.look = LOOK
    answers = await asyncio.gather(*(ask(health, "/metrics") for _ in range(20)))
    assert {status for status, _ in answers} == {200}
    assert looker.looks == 1


async def test_a_port_that_is_taken_is_said_with_its_holder_and_tried_again(looker: Looker) -> None:
    with socket.create_server(("", 0), family=socket.AF_INET) as holder:
        port = holder.getsockname()[1]
        health = HealthServer(port, looker, lambda: None, TestClock(), retry_seconds=0.01)
        with capture_logs() as logs:
            assert not await health.start()
            serving = asyncio.create_task(health.serve())
            await asyncio.sleep(0)
        assert [(line["event"], line["port"]) for line in logs] == [("health and metrics unavailable", port)]
        assert f"(process {os.getpid()})" in logs[0]["error"]
        assert "agent.metricsPort" in logs[0]["error"]
        assert health.problem() == logs[0]["error"]
    async with asyncio.timeout(10):
        await serving
    assert await ask(health, "/healthz") == (200, "ok\n")
    assert health.problem() == ""
    await asyncio.to_thread(health.stop)


async def test_other_paths_are_not_there(health: HealthServer) -> None:
    assert (await ask(health, "/"))[0] == 404


async def test_it_answers_at_addresses_of_both_families(health: HealthServer) -> None:
    hosts = ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])]
    assert [(await ask(health, "/healthz", host))[0] for host in hosts] == [200] * len(hosts)
