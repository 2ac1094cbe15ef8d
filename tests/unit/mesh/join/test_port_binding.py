"""The Mesh service among machines' lives: a port that is taken, an address that changes."""

from __future__ import annotations

import errno

import pytest
from structlog.testing import capture_logs

from wgmesh_agent.mesh.join.port_binding import TRIED_SECONDS, JoinServing, Serving
from wgmesh_agent.settings.model import HostPort

PROBLEM = "TCP port 5000 is in use by registry (process 812)"
HERE, ELSEWHERE = HostPort("192.0.2.1", 5000), HostPort("192.0.2.7", 5000)


class Service:
    """Notes where it was bound; `taken` are addresses that another program has."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.bound: list[str] = []

    async def start(self, bind: HostPort) -> None:
        if str(bind) in self.taken:
            raise OSError(errno.EADDRINUSE, PROBLEM)
        self.bound.append(str(bind))

    async def stop(self) -> None:
        self.bound.append("stopped")


class Ground:
    def __init__(self) -> None:
        self.now, self.where = 0.0, HERE
        self.service = Service()
        self.serving = JoinServing(self.service, self, clock=lambda: self.now)

    async def current(self) -> HostPort:
        return self.where


@pytest.fixture
def ground() -> Ground:
    return Ground()


async def test_a_port_that_is_taken_is_reported_with_its_holder_after_some_seconds(ground: Ground) -> None:
    ground.service.taken = {str(HERE)}
    with capture_logs() as logs:
        assert not await ground.serving.attempt()
        assert not await ground.serving.attempt()
    assert [(line["event"], line["error"]) for line in logs] == [("join service unavailable", PROBLEM)]
    assert ground.serving.state == Serving(False, PROBLEM, is_lasting=False)
    ground.now = TRIED_SECONDS
    assert ground.serving.state == Serving(False, PROBLEM, is_lasting=True)


async def test_it_is_bound_when_the_port_is_free_again(ground: Ground) -> None:
    ground.service.taken = {str(HERE)}
    await ground.serving.attempt()
    ground.service.taken.clear()
    assert await ground.serving.attempt()
    assert await ground.serving.attempt()
    assert ground.service.bound == [str(HERE)]
    assert ground.serving.state == Serving(True)


async def test_it_follows_the_machine_to_its_new_address(ground: Ground) -> None:
    await ground.serving.attempt()
    ground.where = ELSEWHERE
    assert await ground.serving.attempt()
    assert ground.service.bound == [str(HERE), "stopped", str(ELSEWHERE)]
