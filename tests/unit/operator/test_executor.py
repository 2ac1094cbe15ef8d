"""Plans are carried out in order, each action by itself: what fails does not hold up the rest."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from tests.unit.operator.harness import NAMESPACE, FakeClock, MemoryApi, mesh_body

from wgmesh_operator.api_client import ApiError, ApiUnreachable
from wgmesh_operator.cluster_cache import ClusterCache
from wgmesh_operator.decisions.actions import Action, Create, Delete, Emit, Json, Kind
from wgmesh_operator.executor import Executor, describe_action
from wgmesh_operator.liveness import LivenessCheck
from wgmesh_operator.rejections import Rejections


class Api(MemoryApi):
    """Notes the threads that it is called in; `faults` are raised by name."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()
        self.faults: dict[str, Exception] = {}

    def execute(self, action: Action) -> Json | None:
        self.threads.add(threading.get_ident())
        if action.name in self.faults:
            raise self.faults[action.name]
        return super().execute(action)


class ExecutorHarness:
    def __init__(self) -> None:
        self.api, self.clock = Api(), FakeClock()
        self.cache = ClusterCache(NAMESPACE, lambda _names: None)
        self.progress, self.rejections = LivenessCheck(self.clock), Rejections(self.clock)
        self.executor = Executor(self.api, self.cache, self.progress, self.rejections)


@pytest.fixture
def harness() -> Iterator[ExecutorHarness]:
    found = ExecutorHarness()
    yield found
    found.executor.close()


def mesh(name: str) -> Create:
    return Create(Kind.MESH, mesh_body(name))


def event(name: str) -> Emit:
    return Emit(Kind.MESH, name, "uid-0", "Planned", "it is planned")


async def test_what_is_made_is_known_at_once_and_no_call_is_made_on_the_event_loop(
    harness: ExecutorHarness,
) -> None:
    outcome = await harness.executor.execute_all([mesh("blue"), mesh("green"), event("blue")])
    assert (outcome.changed, outcome.error, outcome.conflict) == (True, "", False)
    assert set(harness.cache.state.meshes) == {"blue", "green"}
    assert threading.get_ident() not in harness.api.threads
    assert [emitted.name for emitted in harness.api.events] == ["blue"]


async def test_what_is_deleted_is_forgotten(harness: ExecutorHarness) -> None:
    await harness.executor.execute_all([mesh("blue")])
    outcome = await harness.executor.execute_all([Delete(Kind.MESH, "blue")])
    assert outcome.changed
    assert not harness.cache.state.meshes


async def test_each_call_is_progress(harness: ExecutorHarness) -> None:
    harness.clock.seconds += 100
    await harness.executor.execute_all([mesh("blue")])
    assert harness.progress.idle_seconds() == 0


async def test_a_refusal_is_said_and_the_rest_is_done(harness: ExecutorHarness) -> None:
    harness.api.faults["blue"] = ApiError(403, "Forbidden", "not yours")
    outcome = await harness.executor.execute_all([mesh("blue"), mesh("green")])
    assert outcome.error.startswith("create WgMesh blue was rejected: ")
    assert set(harness.cache.state.meshes) == {"green"}


async def test_somebody_who_was_quicker_is_no_error(harness: ExecutorHarness) -> None:
    harness.api.faults["blue"] = ApiError(409, "Conflict", "another version")
    outcome = await harness.executor.execute_all([mesh("blue")])
    assert (outcome.conflict, outcome.error, outcome.changed) == (True, "", False)


async def test_an_event_that_is_refused_is_no_error(harness: ExecutorHarness) -> None:
    harness.api.faults["blue"] = ApiError(403, "Forbidden", "no events here")
    outcome = await harness.executor.execute_all([event("blue")])
    assert (outcome.error, outcome.changed) == ("", False)


async def test_a_fault_of_one_action_is_counted_and_the_rest_is_done(harness: ExecutorHarness) -> None:
    harness.api.faults["blue"] = KeyError("metadata")
    outcome = await harness.executor.execute_all([mesh("blue"), mesh("green")])
    assert outcome.error.startswith("create WgMesh blue failed: ")
    assert set(harness.cache.state.meshes) == {"green"}


async def test_an_api_server_that_is_away_ends_the_pass(harness: ExecutorHarness) -> None:
    harness.api.faults["blue"] = ApiUnreachable("connection refused")
    with pytest.raises(ApiUnreachable):
        await harness.executor.execute_all([mesh("blue"), mesh("green")])


def test_an_action_is_described_by_what_it_does_to_whom() -> None:
    assert describe_action(mesh("blue")) == "create WgMesh blue"
    assert describe_action(Delete(Kind.SECRET, "wgmesh-blue-ca")) == "delete Secret wgmesh-blue-ca"
