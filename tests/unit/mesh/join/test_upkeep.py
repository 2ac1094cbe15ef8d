"""What a bootstrap node does between joins."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from tests.unit.clock import TestClock
from tests.unit.factories import make_authority, mesh_record
from tests.unit.kube.harness import claim
from tests.unit.local import local_node
from tests.unit.members import PlayedGossip
from tests.unit.mesh.join.registrar_harness import FakeMesh
from tests.unit.policies import ScriptedPolicy
from tests.unit.waiting import until

from wgmesh_agent.mesh.credentials import Credentials, TLSFiles
from wgmesh_agent.mesh.join import upkeep as module
from wgmesh_agent.mesh.join.address_allocator import AddressAllocator
from wgmesh_agent.mesh.join.registrar import JOIN_DEADLINE_SECONDS, Registrar
from wgmesh_agent.mesh.join.upkeep import JoinUpkeep
from wgmesh_agent.mesh.membership.admissions import AdmissionService
from wgmesh_agent.mesh.membership.announcements import Announcer
from wgmesh_agent.mesh.membership.claims import Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.missing_records import MissingRecords
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_api.certificates import cert_to_pem, generate_key, issue, key_to_pem
from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.meshservice_pb2 import Peer

START = datetime(2026, 1, 1, tzinfo=UTC)
SITE = ip_network("192.168.7.0/24")
RANGES = (ip_network("10.232.0.0/16"),)


class UpkeepHarness:
    """A bootstrap node that signs records; no node has joined yet."""

    def __init__(self) -> None:
        authority, key = make_authority(now=START), generate_key()
        certificate = issue(
            authority,
            NodeIdentity("blue", "boot", Role.BOOTSTRAP),
            key.public_key(),
            now=START,
            lifetime=timedelta(days=5),
            serial=2,
        )
        files = TLSFiles(key_to_pem(key), cert_to_pem(certificate), cert_to_pem(authority.cert))
        self.clock = TestClock(unix_seconds=START.timestamp() + 60)
        record = mesh_record(
            node="boot",
            addresses=(ip_address("10.232.0.1"),),
            bootstrap=True,
            requires_admission=True,
            ranges=RANGES,
        )
        local = local_node(record, PrivateKey(bytes(32)))
        self.ledger, self.policy = Ledger(local), ScriptedPolicy(signed_routes=())
        tls = Credentials(files)
        self.admissions = AdmissionService(
            local,
            tls,
            tls,
            self.ledger,
            MissingRecords(Signal()),
            RejectionLog(),
            self.policy,
            self.clock,
        )
        self.gossip, self.mesh = PlayedGossip(), FakeMesh()
        registrar = Registrar("blue", self.ledger, AddressAllocator(RANGES), self.mesh)
        self.upkeep = JoinUpkeep(
            registrar, self.ledger, self.admissions, self.policy, Announcer(self.gossip), self.clock
        )

    def announced(self) -> list[Peer]:
        return [Peer.FromString(payload) for _, payload in self.gossip.events_sent]


def test_a_member_whose_routes_the_policy_changed_gets_another_record() -> None:
    harness = UpkeepHarness()
    beta = replace(claim("beta", 2), routes=(SITE,))
    harness.ledger.accept(beta, Origin.ADMITTED, 1.0)
    harness.ledger.accept(harness.admissions.record_for_peer(beta), Origin.ADMITTED, 1.0)
    harness.upkeep.reissue_records()
    assert harness.announced() == []
    harness.policy.signed_routes = (SITE,)
    harness.clock.unix_seconds += 1
    held = harness.ledger.by_name("beta")
    assert held is not None
    harness.ledger.accept(replace(held.claim, routes=(SITE,)), Origin.ADMITTED, 1.0)
    harness.upkeep.reissue_records()
    (told,) = harness.announced()
    assert told.nodeName == "beta"
    again = harness.ledger.by_name("beta")
    assert again is not None
    assert again.claim.admission is not None
    assert again.claim.admission.routes == (SITE,)
    harness.upkeep.reissue_records()
    assert len(harness.announced()) == 1


def test_a_member_without_a_record_gets_none() -> None:
    harness = UpkeepHarness()
    harness.ledger.accept(claim("beta", 2), Origin.PEERS, 1.0)
    harness.upkeep.reissue_records()
    assert harness.announced() == []


async def test_a_joiner_that_never_came_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.001)
    harness = UpkeepHarness()
    harness.ledger.accept(claim("beta", 2), Origin.ADMITTED, harness.clock.unix())
    task = asyncio.create_task(harness.upkeep.run())
    await asyncio.sleep(0.02)
    assert harness.ledger.by_name("beta") is not None
    harness.clock.unix_seconds += JOIN_DEADLINE_SECONDS + 1
    await until(lambda: harness.ledger.by_name("beta") is None)
    task.cancel()
    assert [binding.claim.node for binding in harness.mesh.taken_back] == ["beta"]
