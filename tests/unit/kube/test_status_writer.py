"""A status is written on changes, rate-limited, and only to the object by which this node is a member."""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.kube.harness import (
    MemoryApi,
    SessionGround,
    claim,
    eventually,
    make_authority,
    mesh_body,
    node_body,
    node_path,
    public_key,
    tls_files,
)

from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.kube import status_writer as module
from wgmesh_agent.kube.api_client import ApiError
from wgmesh_agent.kube.certificate import CertificateStore
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.kube.status_rate_limit import (
    JITTER,
    JOINING_INTERVAL_SECONDS,
    JOINING_SECONDS,
    MAX_WRITES_PER_SECOND,
    MIN_INTERVAL_SECONDS,
    REASSERT_SECONDS,
    StatusRateLimiter,
)
from wgmesh_agent.kube.status_writer import StatusWriter, bootstrap_report
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.join.port_binding import Serving
from wgmesh_agent.mesh.probing.liveness import LinkState
from wgmesh_agent.mesh.rotation.gossip_key import RotationFailed
from wgmesh_agent.wireguard.model import Device
from wgmesh_api.report import BootstrapReport, NodeReport

HEARD = LinkState(1.0, True, True)


class Ground:
    def __init__(self, folder: Path) -> None:
        self.api = MemoryApi()
        self.api.put(mesh_body())
        self.api.put(node_body())
        self.api.put(node_body("beta", 2))
        self.view = RosterCache("blue", "alpha")
        self.view.start(self.api)
        self.identity = CertificateStore(folder)
        self.identity.save_uid("uid-alpha")
        self.clock = 1000.0
        self.unserved = ""
        self.writer = StatusWriter(
            self.api,
            self.view,
            self.identity,
            Credentials(tls_files(make_authority())),
            lambda node: f"uid-{node}",
            lambda: self.unserved,
            clock=lambda: self.clock,
        )
        self.session = SessionGround(folder)
        self.session.bind(claim("beta", 2))
        self.session.gossips(claim("beta", 2))
        self.session.links["beta"] = HEARD

    async def look(self) -> int:
        """How many writes one look makes."""
        before = len(self.api.applied)
        await self.writer.reconcile(self.session.node)
        return len(self.api.applied) - before

    async def joined_long_ago(self) -> None:
        """Its last write is of this moment, and not of the time in which it joined."""
        self.clock -= 4 * JOINING_SECONDS
        await self.look()
        self.clock += 2 * JOINING_SECONDS
        self.unserved = "no port"
        assert await self.look() == 1
        self.unserved = ""
        self.clock += 2 * JOINING_SECONDS
        assert await self.look() == 1

    def status(self, node: str = "alpha") -> dict[str, object]:
        found: dict[str, object] = self.api.objects[node_path(node)]["status"]
        return found


@pytest.fixture
async def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


async def test_a_port_of_health_and_metrics_that_is_taken_is_reported(ground: Ground) -> None:
    ground.unserved = "TCP port 9586 is in use by nginx (process 812)"
    await ground.look()
    assert ground.status()["metricsProblem"] == ground.unserved
    ground.unserved, ground.clock = "", ground.clock + 60
    await ground.look()
    assert "metricsProblem" not in ground.status()


async def test_the_first_look_writes_at_once(ground: Ground) -> None:
    assert await ground.look() == 1
    status = ground.status()
    assert (status["phase"], status["peers"]) == ("Joined", "1/1")


@pytest.mark.heavy
async def test_without_news_nothing_is_written_for_minutes(ground: Ground) -> None:
    await ground.look()
    for _ in range(int(REASSERT_SECONDS / 2) - 1):
        ground.clock += 2.0
        assert await ground.look() == 0


async def test_links_that_come_up_while_a_node_joins_are_written_within_a_second_or_so(
    ground: Ground,
) -> None:
    ground.session.links["beta"] = LinkState(30.0, False, None)
    await ground.look()
    assert ground.status()["peers"] == "0/1"
    ground.session.links["beta"] = HEARD
    ground.clock += JOINING_INTERVAL_SECONDS * 0.9
    assert await ground.look() == 0
    ground.clock += JOINING_INTERVAL_SECONDS * JITTER - 0.9 * JOINING_INTERVAL_SECONDS
    assert await ground.look() == 1
    assert ground.status()["peers"] == "1/1"


async def test_news_waits_for_ten_seconds_after_the_last_write_and_is_written_once(ground: Ground) -> None:
    await ground.joined_long_ago()
    writes = []
    for step in range(40):
        ground.session.links["beta"] = HEARD if step < 3 else LinkState(30.0, False, None)
        ground.clock += 0.5
        writes += [ground.clock] * await ground.look()
    assert len(writes) == 1
    assert 1000.0 + MIN_INTERVAL_SECONDS <= writes[0] <= 1000.0 + MIN_INTERVAL_SECONDS * JITTER + 0.5
    assert ground.status()["peers"] == "0/1"


@pytest.mark.heavy
async def test_a_link_that_comes_and_goes_all_the_time_is_written_every_ten_seconds_at_most(
    ground: Ground,
) -> None:
    await ground.joined_long_ago()
    writes = []
    for step in range(600):
        ground.session.links["beta"] = HEARD if step % 2 else LinkState(30.0, False, None)
        ground.clock += 0.1
        writes += [ground.clock] * await ground.look()
    assert 5 <= len(writes) <= 7
    assert min(b - a for a, b in itertools.pairwise(writes)) >= MIN_INTERVAL_SECONDS


def test_while_thousands_join_each_waits_as_long_as_the_budget_of_the_mesh_asks() -> None:
    limiter = StatusRateLimiter(random.Random(1))
    report = replace(NodeReport(), expected=1999)
    now = next(step / 10 for step in range(1000) if limiter.is_due(report, step / 10))
    limiter.attempted(now)
    limiter.record_written(report, now)
    assert limiter.wait_seconds(now) >= 2000 / MAX_WRITES_PER_SECOND


async def test_what_was_written_is_confirmed_now_and_then_without_a_change(ground: Ground) -> None:
    await ground.look()
    first = ground.status()
    ground.clock += REASSERT_SECONDS
    assert await ground.look() == 1
    assert ground.status() == first


async def test_an_api_server_that_is_away_is_tried_every_ten_seconds_only(ground: Ground) -> None:
    ground.api.away = True
    tried = 0
    for _ in range(30):
        ground.clock += 1.0
        ground.api.refusals = [ApiError("away")]
        await ground.look()
        tried += not ground.api.refusals
    assert 2 <= tried <= 3
    ground.api.refusals = []
    ground.api.back()
    ground.clock += MIN_INTERVAL_SECONDS * JITTER
    assert await ground.look() == 1


async def test_a_namesake_made_since_is_not_written_to(ground: Ground) -> None:
    ground.api.put(node_body(uid="uid-anew"))
    assert await ground.look() == 0
    ground.api.remove(node_path())
    assert await ground.look() == 0


class TestLeft:
    async def test_it_tells_that_nothing_is_left(self, ground: Ground) -> None:
        await ground.look()
        ground.api.put(node_body(deleting=True))
        await ground.writer.report_left("blue", "alpha")
        assert ground.status()["phase"] == "Left"

    async def test_a_namesake_made_since_has_not_left(self, ground: Ground) -> None:
        ground.api.put(node_body(uid="uid-anew"))
        await ground.writer.report_left("blue", "alpha")
        assert ground.status() == {}

    async def test_a_namesake_made_between_look_and_write_has_not_left_either(
        self, ground: Ground, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask = ground.api.get

        async def get(path: str) -> object:
            found = await ask(path)
            monkeypatch.setattr(ground.api, "get", ask)
            ground.api.put(node_body(uid="uid-anew"))
            return found

        monkeypatch.setattr(ground.api, "get", get)
        await ground.writer.report_left("blue", "alpha")
        assert ground.status() == {}

    async def test_who_has_no_object_any_more_has_nothing_to_tell(self, ground: Ground) -> None:
        ground.api.remove(node_path())
        await ground.writer.report_left("blue", "alpha")

    async def test_it_tries_until_the_api_server_answers(
        self, ground: Ground, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
        ground.api.refusals = [ApiError("away"), ApiError("busy", 503)]
        with capture_logs() as logs:
            await ground.writer.report_left("blue", "alpha")
        assert ground.status()["phase"] == "Left"
        assert len(logs) == 2


async def test_it_writes_by_itself_when_something_changes(ground: Ground) -> None:
    task = asyncio.create_task(ground.writer.run(ground.session.node))
    await eventually(lambda: ground.api.applied)
    task.cancel()


def test_failed_members_count_as_such(ground: Ground) -> None:
    ground.session.gossips(claim("beta", 2), MemberStatus.FAILED)
    (seen,) = module.observe_peers(ground.session.node, Device("wgblue"))
    assert seen.failed
    assert not seen.alive


def test_two_calms_do_not_write_in_step() -> None:
    pauses = set()
    for seed in range(20):
        calm = StatusRateLimiter(random.Random(seed))
        calm.attempted(0.0)
        pauses.add(calm.wait_seconds(0.0))
    assert len(pauses) == 20
    assert all(MIN_INTERVAL_SECONDS <= pause <= MIN_INTERVAL_SECONDS * JITTER for pause in pauses)


def test_since_when_something_is_so_is_no_news() -> None:
    calm = StatusRateLimiter(random.Random(1))
    written = NodeReport(phase="Joined", ready=True)
    calm.record_written(replace(written, ready_since=None), 0.0)
    assert not calm.is_due(written, 1.0)


@pytest.mark.slow
def test_five_thousand_members_with_the_same_news_write_less_than_fifty_times_a_second() -> None:
    members = 5000
    calms = [StatusRateLimiter(random.Random(seed)) for seed in range(members)]
    all_well = NodeReport(phase="Joined", heard=members - 1, expected=members - 1)
    for calm in calms:
        calm.record_written(all_well, 0.0)
    writes = []
    one_failed = replace(all_well, heard=members - 2)
    for second in range(1, 200):
        now = float(second)
        due = [calm for calm in calms if calm.is_due(one_failed, now)]
        for calm in due:
            calm.attempted(now)
            calm.record_written(one_failed, now)
        writes.append(len(due))
    assert sum(writes) == members
    assert max(writes) < 65
    assert max(sum(writes[at : at + 10]) for at in range(len(writes))) < 500
    assert writes[0] + writes[1] > 0, "the first to say it is quick"


def test_in_a_small_mesh_news_waits_for_nobody() -> None:
    calm = StatusRateLimiter(random.Random(1))
    calm.record_written(NodeReport(heard=9, expected=9), 0.0)
    assert calm.is_due(NodeReport(heard=8, expected=9), 1.0)


async def test_a_key_that_is_to_come_is_told_before_it_comes(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROPAGATION_SECONDS", 0.0)
    await ground.look()
    assert "nextPublicKey" not in ground.status()
    coming = public_key(99)
    announcing = asyncio.create_task(ground.writer.announce_key(coming))
    await asyncio.sleep(0)
    assert not announcing.done()
    ground.clock += MIN_INTERVAL_SECONDS * JITTER
    await ground.look()
    await asyncio.wait_for(announcing, 10)
    assert ground.status()["nextPublicKey"] == str(coming)


async def test_a_key_that_cannot_be_told_is_not_to_come(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANNOUNCE_TIMEOUT_SECONDS", 0.05)
    await ground.look()
    with pytest.raises(RotationFailed, match="could not be published to the API server"):
        await ground.writer.announce_key(public_key(99))
    ground.clock += MIN_INTERVAL_SECONDS * JITTER
    await ground.look()
    assert "nextPublicKey" not in ground.status()


def test_what_hinders_joins_is_reported_once_it_lasts_and_after_the_duty_has_moved() -> None:
    refused = BootstrapReport(serving=False, message="port 5000 is in use")
    assert bootstrap_report(Serving(False, "port 5000 is in use", is_lasting=False), None) is None
    assert bootstrap_report(Serving(False, "port 5000 is in use"), None) == refused
    assert bootstrap_report(None, refused) == refused
    assert bootstrap_report(Serving(True), refused) == BootstrapReport(serving=True)
    assert bootstrap_report(None, BootstrapReport(serving=True)) is None
