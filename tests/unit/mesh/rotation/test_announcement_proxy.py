"""A member announces a bootstrap node's new key a moment after it agreed to, and only what is vouched for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.unit.kube.harness import claim

from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord
from wgmesh_agent.mesh.membership.admissions import AdmissionService
from wgmesh_agent.mesh.membership.announcements import Announcer
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.peer_codec import peer_message
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.rotation import announcement_proxy as module
from wgmesh_agent.mesh.rotation.announcement_proxy import AGREED, MAX_PENDING, REJECTED, AnnouncementProxy
from wgmesh_agent.runtime.supervisor import Supervisor
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_api.meshservice_pb2 import Admission


def vouched(node: str, number: int = 1) -> Claim:
    """A claim with a record whose signature is not verified here."""
    said = claim(node, number)
    said = replace(said, public_key=PrivateKey.generate(os.urandom).public())
    blob = Admission(
        mesh="blue", node=node, publicKey=said.public_key.raw, addresses=[a.packed for a in said.addresses]
    ).SerializeToString()
    record = AdmissionRecord("blue", node, said.public_key, said.addresses, 0, 0, blob, b"signed", bytes(32))
    return replace(said, admission=record)


def event(said: Claim) -> bytes:
    """The announcement of a claim: with a record without certificates."""
    assert said.admission is not None
    return peer_message(replace(said, admission=said.admission.without_certificates())).SerializeToString()


class Believing(AdmissionService):
    """Accepts every record, or none."""

    def __init__(self) -> None:
        self.believes = True

    def verify(self, claim: Claim) -> tuple[Claim, bool] | None:
        return (claim, True) if self.believes else None

    def record_for_peer(self, claim: Claim) -> Claim:
        return claim


class Ground:
    def __init__(self) -> None:
        self.accepted: list[Claim] = []
        self.announced: list[bytes] = []
        self.tasks = Supervisor()
        self.refusals = RejectionLog()
        self.admissions = Believing()
        self.heralding = AnnouncementProxy(self.admissions, self.refusals, self, Announcer(self), self.tasks)

    def user_event(self, name: str, payload: bytes, *, coalesce: bool = True) -> None:
        self.announced.append(payload)

    def accept(self, said: Claim, origin: Origin) -> bool:
        self.accepted.append(said)
        return True

    def ask(self, said: Claim, by: str = "n1", brought_by: str | None = None) -> bytes:
        payload = peer_message(said).SerializeToString()
        request = QueryReceived(1, 1, by, "_herald", payload, 0.0, source_member=brought_by or by)
        return self.heralding.answer_query(request)


@pytest.fixture
async def ground(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    monkeypatch.setattr(module, "ANNOUNCE_DELAY_SECONDS", 0.01)
    made = Ground()
    yield made
    await made.tasks.stop()


async def test_it_agrees_at_once_and_announces_later(ground: Ground) -> None:
    said = vouched("n1")
    assert ground.ask(said) == AGREED
    assert ground.announced == []
    async with asyncio.timeout(5):
        while not ground.announced:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.005)
    assert ground.accepted == [said]
    assert ground.announced == [event(said)]


async def test_of_two_questions_the_later_is_announced_once(ground: Ground) -> None:
    first, second = vouched("n1"), vouched("n1")
    assert (ground.ask(first), ground.ask(second)) == (AGREED, AGREED)
    async with asyncio.timeout(5):
        while not ground.announced:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.005)
    assert ground.announced == [event(second)]


async def test_what_is_not_believed_is_not_announced(ground: Ground) -> None:
    ground.admissions.believes = False
    assert ground.ask(vouched("n1")) == REJECTED


async def test_nobody_speaks_for_another(ground: Ground) -> None:
    assert ground.ask(vouched("n1"), by="n2") == REJECTED


async def test_a_query_that_another_member_brings_is_of_nobody(ground: Ground) -> None:
    assert ground.ask(vouched("n1"), by="n1", brought_by="n2") == REJECTED
    assert ground.ask(vouched("n1"), by="n1", brought_by="n1") == AGREED


async def test_what_nobody_vouches_for_is_not_announced(ground: Ground) -> None:
    assert ground.ask(replace(vouched("n1"), admission=None)) == REJECTED


async def test_any_bytes_are_answered(ground: Ground) -> None:
    request = QueryReceived(1, 1, "n1", "_herald", b"\xff" * 40, 0.0)
    assert ground.heralding.answer_query(request) == REJECTED
    assert ground.refusals.counts["malformed_announcement"] == 1


async def test_no_more_than_some_are_open_at_once(ground: Ground) -> None:
    answers = [ground.ask(vouched(f"n{n}", n), by=f"n{n}") for n in range(1, MAX_PENDING + 2)]
    assert answers == [AGREED] * MAX_PENDING + [REJECTED]
