"""A bundle that changes while the agent runs: a good one is reloaded, a bad one is not, and its expiry is logged."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.mesh.join.bundle_fixtures import NOW, bundle_bytes, changed, make_authority

from wgmesh_agent.mesh.join.bundle import read_bundle
from wgmesh_agent.mesh.join.bundle_reloader import REMIND_SECONDS, BundleReloader
from wgmesh_agent.settings.model import HostPort

AUTHORITY = make_authority()


class Ground:
    """An agent that entered with the bundle at `file`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.write_bytes(bundle_bytes(AUTHORITY))
        self.clock = 0.0
        self.now = NOW
        self.watch = BundleReloader(read_bundle(file), clock=lambda: self.clock, now=self._now)

    def _now(self) -> datetime:
        return self.now

    def serial(self) -> str:
        return self.watch.credentials.files.certificate.decode()

    async def look(self) -> list[Any]:
        with capture_logs() as logs:
            await self.watch.poll()
        return [entry for entry in logs if entry["log_level"] == "warning"]


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path / "bundle.json")


async def test_a_renewed_bundle_changes_the_credentials_that_are_in_use(ground: Ground) -> None:
    held = ground.watch.credentials
    renewed = bundle_bytes(AUTHORITY, bootstraps=["192.0.2.9:5001"])
    ground.file.write_bytes(renewed)
    assert await ground.look() == []
    assert held.files.certificate.decode() == json.loads(renewed)["certificate"]
    assert held.files.key.decode() == json.loads(renewed)["key"]
    assert ground.watch.bootstraps() == (HostPort("192.0.2.9", 5001),)


async def test_a_bundle_put_in_place_by_renaming_is_seen(ground: Ground) -> None:
    renewed = bundle_bytes(AUTHORITY)
    other = ground.file.with_name("new")
    other.write_bytes(renewed)
    other.rename(ground.file)
    await ground.look()
    assert ground.serial() == json.loads(renewed)["certificate"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bundle_bytes(AUTHORITY)[:500],
        changed(bundle_bytes(AUTHORITY), key="x"),
        bundle_bytes(AUTHORITY, node="phone"),
        bundle_bytes(make_authority("green"), mesh="green"),
    ],
)
async def test_a_bad_or_foreign_one_is_logged_once_and_the_one_before_stays(
    ground: Ground, data: bytes
) -> None:
    before = ground.serial()
    ground.file.write_bytes(data)
    (line,) = await ground.look()
    assert "keeping the previous one" in line["event"]
    assert await ground.look() == []
    assert ground.serial() == before


async def test_a_half_written_one_is_taken_up_when_it_is_whole(ground: Ground) -> None:
    renewed = bundle_bytes(AUTHORITY)
    ground.file.write_bytes(renewed[:700])
    await ground.look()
    ground.file.write_bytes(renewed)
    assert await ground.look() == []
    assert ground.serial() == json.loads(renewed)["certificate"]


async def test_a_file_that_is_gone_changes_nothing(ground: Ground) -> None:
    before = ground.serial()
    ground.file.unlink()
    assert await ground.look() == []
    assert ground.serial() == before


async def test_the_end_of_the_certificate_is_told_of_days_before_once_a_day(ground: Ground) -> None:
    assert await ground.look() == []
    ground.now += timedelta(days=350)
    (line,) = await ground.look()
    assert line["event"] == "certificate expires soon"
    assert line["days"] == 15.0
    ground.clock += REMIND_SECONDS - 1
    assert await ground.look() == []
    ground.clock += 1
    ground.now += timedelta(days=20)
    (line,) = await ground.look()
    assert line["event"] == "certificate has expired"


async def test_whoever_fetches_another_hears_no_more_of_it(ground: Ground) -> None:
    ground.now += timedelta(days=350)
    await ground.look()
    ground.file.write_bytes(bundle_bytes(AUTHORITY, now=ground.now))
    ground.clock += 2 * REMIND_SECONDS
    assert await ground.look() == []
