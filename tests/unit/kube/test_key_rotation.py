"""A node's WireGuard key in Kubernetes: another when it is due, not all at once, and none for what was asked before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.factories import mesh_record
from tests.unit.kube.harness import MemoryApi, mesh_body, node_body
from tests.unit.node import composed

from wgmesh_agent.kube.key_rotation import RETRY_SECONDS, KeyRotationController
from wgmesh_agent.kube.key_rotation_schedule import (
    JITTER_SHARE,
    MAX_SPREAD_SECONDS,
    SPREAD_SECONDS_PER_MEMBER,
    RotationPolicy,
    next_rotation,
)
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.mesh.rotation.gossip_key import RotationFailed
from wgmesh_agent.mesh.rotation.service import RotationService
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_api.roster import ROTATE_WIREGUARD_KEYS, token_id

HOUR = 3600.0
KEY = PrivateKey.generate(os.urandom)
NODES = [f"n{number}" for number in range(200)]


def at(
    wish: RotationPolicy,
    node: str = "n1",
    *,
    done: str = "",
    asked: float | None = 5000.0,
    members: Sequence[str] = ("n0", "n1", "n2"),
) -> float | None:
    return next_rotation(wish, node, since=1000.0, done=done, asked=asked, members=members)


def test_nothing_asks_for_a_key() -> None:
    assert at(RotationPolicy(None, "")) is None


def test_a_schedule_is_kept_a_little_early_and_never_late() -> None:
    times = [at(RotationPolicy(HOUR, ""), node) for node in NODES]
    assert all(time is not None and 1000 + (1 - JITTER_SHARE) * HOUR <= time <= 1000 + HOUR for time in times)
    assert len({round(time / 10) for time in times if time is not None}) > 20


def test_after_an_annotation_each_has_a_moment_of_its_own() -> None:
    """Two ends of a tunnel that change their keys at once lose packets."""
    times = [at(RotationPolicy(None, "t"), node, members=NODES) or 0 for node in NODES]
    assert sorted(times) == [5000 + SPREAD_SECONDS_PER_MEMBER * place for place in range(len(NODES))]
    assert times != [at(RotationPolicy(None, "u"), node, members=NODES) for node in NODES]


@pytest.mark.heavy
def test_the_largest_mesh_takes_half_an_hour() -> None:
    many = [f"n{number}" for number in range(5000)]
    times = [at(RotationPolicy(None, "t"), node, members=many) or 0 for node in NODES]
    assert all(5000 <= time <= 5000 + MAX_SPREAD_SECONDS for time in times)
    assert max(times) > 5000 + 0.9 * MAX_SPREAD_SECONDS
    assert len(set(times)) == len(NODES)


def test_what_is_done_is_done_and_what_was_not_seen_is_not_asked() -> None:
    assert at(RotationPolicy(None, "t"), done="t") is None
    assert at(RotationPolicy(None, "t"), asked=None) is None
    assert at(RotationPolicy(HOUR, "t"), done="t") == at(RotationPolicy(HOUR, ""))


@given(st.floats(HOUR, 1e8), st.floats(0, 1e9), st.integers(1, 200))
def test_the_sooner_of_the_two_counts(interval: float, asked: float, count: int) -> None:
    members = NODES[:count]
    both = at(RotationPolicy(interval, "t"), asked=asked, members=members)
    alone = (at(RotationPolicy(interval, "")), at(RotationPolicy(None, "t"), asked=asked, members=members))
    assert both == min(time for time in alone if time is not None)


class Ground(RotationService):
    """One node that rotates on request, its roster, and a clock."""

    def __init__(self, folder: Path, *, since: int = 1000, interval: float | None = None) -> None:
        self.now, self.rotated = 2000.0, list[float]()
        self.fault: RotationFailed | None = None
        self.api = MemoryApi()
        self.view = RosterCache("blue", "n1")
        self.view.start(self.api)
        for number, node in enumerate(("n1", "n2", "n3"), 1):
            self.api.put(node_body(node, number))
        self.interval = interval
        self.annotate("")
        record = mesh_record(node="n1", joined_unix=700, wireguard_key_since=since)
        self.node = replace(composed(folder, record), rotations=self)
        self.rekeying = KeyRotationController(self.view, now_unix=lambda: self.now)

    def annotate(self, token: str) -> None:
        """Puts the annotation on the mesh that asks for a new key."""
        body = mesh_body()
        body["metadata"]["annotations"] = {ROTATE_WIREGUARD_KEYS: token} if token else {}
        if self.interval is not None:
            body["spec"]["rotation"] = {"wireguardKeys": f"{self.interval:g}s"}
        self.api.put(body)

    async def rotate_wireguard_key(self) -> str:
        if self.fault is not None:
            raise self.fault
        self.rotated.append(self.now)
        return "2 of 2 tunnels"

    async def look(self, seconds: float = 0.0) -> float:
        self.now += seconds
        return await self.rekeying.reconcile(self.node)


async def test_a_new_value_of_the_annotation_is_one_new_key(tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    await ground.look()
    ground.annotate("1")
    await ground.look()
    await ground.look(3 * SPREAD_SECONDS_PER_MEMBER)
    await ground.look(HOUR)
    assert len(ground.rotated) == 1
    assert ground.node.record.wireguard_key_token == token_id("1")
    ground.annotate("2")
    await ground.look()
    await ground.look(3 * SPREAD_SECONDS_PER_MEMBER)
    assert len(ground.rotated) == 2


async def test_what_was_asked_for_before_a_node_came_is_not_asked_of_it(tmp_path: Path) -> None:
    ground = Ground(tmp_path, since=0)
    ground.annotate("1")
    for _ in range(3):
        await ground.look(HOUR)
    assert ground.rotated == []
    assert (ground.node.record.wireguard_key_since, ground.node.record.wireguard_key_token) == (
        700,
        token_id("1"),
    )
    assert ground.node.store.mesh() == ground.node.record


async def test_a_schedule_goes_on_from_the_last_key(tmp_path: Path) -> None:
    ground = Ground(tmp_path, since=2000, interval=HOUR)
    for _ in range(4 * 60):
        await ground.look(60)
    assert 4 <= len(ground.rotated) <= 5
    assert all(
        b - a >= (1 - JITTER_SHARE) * HOUR for a, b in zip(ground.rotated, ground.rotated[1:], strict=False)
    )


async def test_one_that_failed_is_tried_again_after_a_while(tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    ground.annotate("1")
    ground.fault = RotationFailed("no bootstrap node is known")
    await ground.look()
    await ground.look(60)
    ground.fault = None
    await ground.look(RETRY_SECONDS - 1)
    assert ground.rotated == []
    await ground.look(2)
    assert len(ground.rotated) == 1


@pytest.mark.parametrize("token", ["", "x", "x" * 10_000])
def test_a_value_of_any_length_has_a_short_id(token: str) -> None:
    assert len(token_id(token)) == (16 if token else 0)
