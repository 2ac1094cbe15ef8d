"""Admission records and unauthenticated claims: no member is bound without one, and an old one changes no binding."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from tests.unit.clock import TestClock
from tests.unit.factories import make_authority, mesh_record
from tests.unit.local import local_node
from tests.unit.policies import ScriptedPolicy
from tests.unit.tunnels import PlayedTunnels

from wgmesh_agent.gossip.serf.events import Member, QueryReceived, QueryResult
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.credentials import Credentials, TLSFiles
from wgmesh_agent.mesh.membership.admission_fetcher import AdmissionFetcher
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord, Signer
from wgmesh_agent.mesh.membership.admissions import AdmissionService
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.departures import Departures
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import Gossip, MemberView
from wgmesh_agent.mesh.membership.missing_records import BACKOFF, MissingRecords
from wgmesh_agent.mesh.membership.peer_codec import peer_message
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.membership.tags import own_tags
from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.certificates import (
    cert_to_pem,
    generate_key,
    issue,
    key_to_pem,
)
from wgmesh_api.identity import NodeIdentity, Role

RANGE = ip_network("10.232.0.0/16")
START = datetime.now(UTC)


def some_key() -> PublicKey:
    return PrivateKey.generate(os.urandom).public()


def claim(node: str, number: int, key: PublicKey | None = None) -> Claim:
    endpoint = Endpoint(ip_address(f"192.0.2.{number}"), 54540)
    return Claim(node, key or some_key(), (ip_address(f"10.232.0.{number}"),), (endpoint,))


def asked(node: bytes) -> QueryReceived:
    return QueryReceived(1, 1, "somebody", "_admission", node, 0.0)


class Authority:
    def __init__(self) -> None:
        self.ca = make_authority(now=START)

    def credentials(self, node: str, role: Role) -> Credentials:
        key = generate_key()
        cert = issue(
            self.ca,
            NodeIdentity("blue", node, role),
            key.public_key(),
            now=START,
            lifetime=timedelta(days=5),
            serial=2,
        )
        return Credentials(TLSFiles(key_to_pem(key), cert_to_pem(cert), cert_to_pem(self.ca.cert)))


class Node:
    """A member's ledger, and what it makes of news."""

    def __init__(
        self, name: str, number: int, trust: Credentials | None, signer: Credentials | None = None
    ) -> None:
        address, key = ip_address(f"10.232.0.{number}"), PrivateKey.generate(os.urandom)
        self.clock = TestClock(unix_seconds=START.timestamp())
        record = mesh_record(
            node=name, addresses=(address,), bootstrap=signer is not None, requires_admission=True
        )
        self.local = local_node(record, key, endpoint=Endpoint(ip_address(f"192.0.2.{number}"), 54540))
        self.own = self.local.claim()
        self.ledger = Ledger(self.local)
        self.refusals = RejectionLog()
        self.policy = ScriptedPolicy()
        self.news = Signal()
        self.missing = MissingRecords(self.news)
        self.admissions = AdmissionService(
            self.local, trust, signer, self.ledger, self.missing, self.refusals, self.policy, self.clock
        )
        self.gossip: dict[str, Member] = {}
        self.membership = MembershipTracker(
            self.ledger,
            self.refusals,
            MemberView(self, self.ledger),
            self.admissions,
            Departures(),
            PlayedTunnels(),
            self.policy,
            Signal(),
            self.clock,
        )

    def members(self) -> dict[str, Member]:
        """What gossip has."""
        return self.gossip

    async def query(self, *_: Any, **__: Any) -> QueryResult:
        """No member answers."""
        return QueryResult(frozenset(), frozenset(), {})

    @property
    def now(self) -> datetime:
        """By its clock."""
        return self.clock.now()

    @now.setter
    def now(self, moment: datetime) -> None:
        self.clock.unix_seconds = moment.timestamp()

    def fetcher(self, gossip: Gossip) -> AdmissionFetcher:
        """Asks through `gossip`."""
        view = MemberView(gossip, self.ledger)
        return AdmissionFetcher(
            self.missing,
            self.news,
            view,
            self.ledger,
            self.membership,
            self.refusals,
            Signal(),
            SystemClock(),
        )

    def announced(self, told: Claim) -> None:
        self.membership.on_announcement(peer_message(told).SerializeToString())

    def heard(self, told: Claim) -> None:
        member = Member(
            told.node, told.addresses[0], 7946, own_tags(told, {}), MemberStatus.ALIVE, 1, b"", 0.0
        )
        self.gossip[told.node] = member
        self.membership.on_member_update(member)

    def key_of(self, node: str) -> PublicKey | None:
        binding = self.ledger.by_name(node)
        return binding.claim.public_key if binding else None


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def boot(authority: Authority) -> Node:
    credentials = authority.credentials("boot", Role.BOOTSTRAP)
    return Node("boot", 1, credentials, credentials)


@pytest.fixture
def node(authority: Authority, boot: Node) -> Node:
    """A member that learned of the bootstrap node when it joined."""
    node = Node("node", 2, authority.credentials("node", Role.NODE))
    node.membership.accept(replace(boot.admissions.local_record(), bootstrap=True), Origin.PEERS)
    return node


def test_a_member_that_a_bootstrap_node_vouches_for_is_bound(boot: Node, node: Node) -> None:
    beta = boot.admissions.record_for_peer(claim("beta", 3))
    assert beta.admission is not None
    node.announced(replace(beta, admission=beta.admission.without_certificates()))
    assert node.key_of("beta") == beta.public_key
    binding = node.ledger.by_name("beta")
    assert binding is not None
    assert binding.origin is Origin.RECORD
    assert binding.claim.admission == beta.admission


def test_without_a_record_nobody_is_bound_and_it_is_asked_for(boot: Node, node: Node) -> None:
    beta = claim("beta", 3)
    node.heard(beta)
    node.announced(beta)
    assert node.key_of("beta") is None
    assert not node.refusals.counts
    boot.ledger.accept(beta, Origin.ADMITTED, 0.0)
    answer = boot.admissions.answer_query(asked(b"beta"))
    assert answer is not None
    node.membership.accept(replace(beta, admission=AdmissionRecord.from_bytes(answer)), Origin.GOSSIP)
    assert node.key_of("beta") == beta.public_key


def test_any_member_can_show_the_record_of_another(boot: Node, node: Node) -> None:
    node.announced(boot.admissions.record_for_peer(claim("beta", 3)))
    answer = node.admissions.answer_query(asked(b"beta"))
    assert answer is not None
    assert AdmissionRecord.from_bytes(answer).certificates
    assert node.admissions.answer_query(asked(b"\xffnobody")) is None


def test_without_tls_nothing_is_required() -> None:
    node = Node("node", 2, None)
    node.heard(claim("beta", 3))
    assert node.key_of("beta") is not None


def test_a_plain_node_vouches_for_nobody(authority: Authority, node: Node) -> None:
    evil = authority.credentials("evil", Role.NODE)
    signer = Signer(evil.files.key, evil.files.certificate)
    forged = claim("evil2", 4)
    record = signer.sign("blue", "evil2", forged.public_key, forged.addresses, START)
    node.announced(replace(forged, admission=record))
    assert node.key_of("evil2") is None
    assert node.refusals.counts["admission_signer_may_not_admit"] == 1


def test_a_node_that_may_not_admit_makes_no_records(authority: Authority) -> None:
    credentials = authority.credentials("evil", Role.NODE)
    evil = Node("evil", 4, credentials, credentials)
    assert evil.admissions.record_for_peer(claim("beta", 3)).admission is None


@pytest.mark.parametrize("what", ["node", "key", "address"])
def test_a_record_of_another_member_vouches_for_nobody_else(boot: Node, node: Node, what: str) -> None:
    beta = boot.admissions.record_for_peer(claim("beta", 3))
    node.announced(beta)
    evil = claim("evil", 4)
    shown = {
        "node": replace(beta, node="evil"),
        "key": replace(beta, public_key=evil.public_key),
        "address": replace(beta, addresses=evil.addresses),
    }[what]
    node.announced(shown)
    assert node.key_of("beta") == beta.public_key
    assert node.key_of("evil") is None
    assert node.refusals.counts.total() == 1


def test_a_new_key_with_a_newer_record_takes_the_name_over(boot: Node, node: Node) -> None:
    node.announced(boot.admissions.record_for_peer(claim("beta", 3)))
    boot.now += timedelta(seconds=10)
    anew = boot.admissions.record_for_peer(claim("beta", 3))
    node.announced(anew)
    assert node.key_of("beta") == anew.public_key


def test_a_replayed_record_takes_nothing_back(boot: Node, node: Node) -> None:
    old = boot.admissions.record_for_peer(claim("beta", 3))
    boot.now += timedelta(seconds=10)
    anew = boot.admissions.record_for_peer(claim("beta", 3))
    node.announced(anew)
    node.announced(old)
    assert node.key_of("beta") == anew.public_key
    assert node.refusals.counts["admission_replayed"] == 1


def test_a_record_of_a_namesake_that_was_deleted_binds_nobody(boot: Node, node: Node) -> None:
    old = boot.admissions.record_for_peer(claim("beta", 3))
    boot.now += timedelta(seconds=10)
    node.now = boot.now
    node.policy.since = boot.policy.since = {"beta": boot.now}
    node.announced(old)
    assert node.key_of("beta") is None
    assert node.refusals.counts["admission_replayed"] == 1
    anew = boot.admissions.record_for_peer(claim("beta", 3))
    node.announced(anew)
    assert node.key_of("beta") == anew.public_key


def test_what_a_slow_clock_signs_is_not_older_than_the_member(boot: Node, node: Node) -> None:
    node.policy.since = boot.policy.since = {"beta": boot.now + timedelta(seconds=30)}
    beta = boot.admissions.record_for_peer(claim("beta", 3))
    node.announced(beta)
    assert node.key_of("beta") == beta.public_key


def test_a_record_takes_nothing_from_what_the_roster_says(boot: Node, node: Node) -> None:
    beta = claim("beta", 3)
    node.membership.accept(beta, Origin.ROSTER)
    boot.now += timedelta(days=1)
    node.now = boot.now
    node.announced(boot.admissions.record_for_peer(claim("beta", 3)))
    assert node.key_of("beta") == beta.public_key
    assert node.refusals.counts["admission_replayed"] == 1


def test_a_record_for_the_key_that_the_roster_expects_takes_the_earlier_ones_place(
    boot: Node, node: Node
) -> None:
    beta, other, coming = claim("beta", 3), claim("beta", 3), claim("beta", 3)
    node.membership.accept(beta, Origin.ROSTER)
    boot.now += timedelta(days=1)
    node.now = boot.now
    node.policy.announced = {"beta": coming.public_key}
    node.announced(boot.admissions.record_for_peer(other))
    assert node.key_of("beta") == beta.public_key
    node.announced(boot.admissions.record_for_peer(coming))
    assert node.key_of("beta") == coming.public_key


def test_a_record_past_its_time_binds_nobody(boot: Node, node: Node) -> None:
    beta = boot.admissions.record_for_peer(claim("beta", 3))
    node.now += timedelta(days=1, seconds=1)
    node.announced(beta)
    assert node.key_of("beta") is None
    assert node.refusals.counts["admission_expired"] == 1


def test_a_bound_member_stays_when_its_record_is_past_its_time(boot: Node, node: Node) -> None:
    beta = boot.admissions.record_for_peer(claim("beta", 3))
    node.announced(beta)
    node.now += timedelta(days=3)
    node.heard(beta)
    assert node.key_of("beta") == beta.public_key
    assert not node.refusals.counts


def test_a_bootstrap_node_renews_what_grows_old(boot: Node) -> None:
    beta = boot.admissions.record_for_peer(claim("beta", 3))
    boot.now += timedelta(hours=11)
    assert boot.admissions.record_for_peer(beta) is beta
    boot.now += timedelta(hours=2)
    renewed = boot.admissions.record_for_peer(beta)
    assert renewed.admission is not None
    assert beta.admission is not None
    assert renewed.admission.not_before > beta.admission.not_before


def test_a_revoked_node_is_not_announced_into_the_mesh(boot: Node, node: Node) -> None:
    node.policy.unlisted = {"beta"}
    node.announced(boot.admissions.record_for_peer(claim("beta", 3)))
    assert node.key_of("beta") is None
    assert node.refusals.counts["not_listed"] == 1


class Alive:
    """Gossip that has these alive."""

    def __init__(self, *names: str) -> None:
        self._members = {
            name: Member(name, ip_address("10.232.0.1"), 7946, {}, MemberStatus.ALIVE, 1, b"", 0.0)
            for name in names
        }

    def members(self) -> dict[str, Member]:
        return self._members

    async def query(self, *_: Any, **__: Any) -> QueryResult:
        return QueryResult(frozenset(), frozenset(), {})


class Deaf(Alive):
    """No member answers; records the query, and through how many members answers may come."""

    def __init__(self) -> None:
        super().__init__("boot")
        self.asked: list[tuple[bytes, int]] = []
        self.heard = Signal()

    async def query(self, name: str, payload: bytes = b"", *, relay_factor: int = 0, **_: Any) -> QueryResult:
        self.asked.append((payload, relay_factor))
        self.heard.notify()
        return QueryResult(frozenset(), frozenset(), {})


@pytest.mark.parametrize(
    ("strangers", "bootstraps", "direct", "most_at_once"),
    [(3, ["boot"], False, 3), (200, ["boot"], True, 16), (200, [], False, 1)],
    ids=["few", "a crowd", "a crowd, and no bootstrap node"],
)
async def test_however_many_are_invented_the_mesh_does_not_pass_on_questions_about_them(
    node: Node, strangers: int, bootstraps: list[str], direct: bool, most_at_once: int
) -> None:
    asked: list[tuple[list[str], bool]] = []
    news = Signal()

    class Gossip(Alive):
        async def query(self, *_: Any, nodes: Any = (), direct: bool = False, **__: Any) -> QueryResult:
            asked.append((nodes, direct))
            news.notify()
            await asyncio.sleep(3600)
            raise AssertionError

    for number in range(strangers):
        node.heard(claim(f"x{number}", number + 10))
    running = asyncio.create_task(node.fetcher(Gossip(*bootstraps)).run())
    async with asyncio.timeout(5):
        await news.wait_after(0)
        await asyncio.sleep(0)
    running.cancel()
    assert len(asked) == most_at_once
    assert {is_direct for _, is_direct in asked} == {direct}
    assert all(nodes == ["boot"] for nodes, _ in asked if direct)


async def test_whoever_was_asked_for_in_vain_is_asked_for_at_once_when_a_bootstrap_node_is_back(
    boot: Node, node: Node
) -> None:
    gossip = Deaf()
    node.heard(claim("beta", 3))
    running = asyncio.create_task(node.fetcher(gossip).run())
    assert await gossip.heard.wait_after(0, 5)
    node.heard(replace(boot.own, bootstrap=True))
    # By itself it would ask again after most of a second at the earliest.
    assert await gossip.heard.wait_after(1, BACKOFF.first_seconds / 2)
    running.cancel()
    assert [payload for payload, _ in gossip.asked] == [b"beta"] * 2
    assert all(relayed > 0 for _, relayed in gossip.asked)


async def test_an_answer_that_comes_when_the_member_has_left_binds_nobody(boot: Node, node: Node) -> None:
    beta = boot.admissions.record_for_peer(claim("beta", 3))
    assert beta.admission is not None
    answer = beta.admission.to_bytes()
    node.heard(replace(beta, admission=None))
    asked_for = asyncio.Event()

    class Gossip(Alive):
        async def query(self, *_: Any, enough: Any = None, **__: Any) -> QueryResult:
            node.announced(beta)
            left = replace(node.gossip["beta"], status=MemberStatus.LEFT)
            node.membership.on_member_update(left)
            assert enough(answer)
            asked_for.set()
            return QueryResult(frozenset({"boot"}), frozenset(), {"boot": answer})

    running = asyncio.create_task(node.fetcher(Gossip("boot")).run())
    async with asyncio.timeout(5):
        await asked_for.wait()
        await asyncio.sleep(0)
    running.cancel()
    assert node.key_of("beta") is None


SITE, OTHER = ip_network("192.168.7.0/24"), ip_network("192.168.8.0/24")


def test_routes_come_from_records_and_never_from_what_a_member_says_of_itself(boot: Node, node: Node) -> None:
    boot.policy.signed_routes = None
    vouched = boot.admissions.record_for_peer(replace(claim("beta", 3), routes=(SITE,)))
    boastful = replace(vouched, routes=(SITE, OTHER))
    assert node.membership.accept(boastful, Origin.GOSSIP)
    bound = node.ledger.by_name("beta")
    assert bound is not None
    assert bound.claim.routes == (SITE,)
    assert node.membership.accept(replace(boastful, admission=None), Origin.GOSSIP)
    bound = node.ledger.by_name("beta")
    assert bound is not None
    assert bound.claim.routes == (SITE,)


def test_a_bootstrap_node_vouches_for_no_route_that_it_does_not_permit_any_more(
    boot: Node, node: Node
) -> None:
    boot.policy.signed_routes = None
    vouched = boot.admissions.record_for_peer(replace(claim("beta", 3), routes=(SITE, OTHER)))
    node.membership.accept(vouched, Origin.GOSSIP)
    boot.policy.signed_routes = (SITE,)
    boot.now += timedelta(seconds=1)
    later = boot.admissions.record_for_peer(vouched)
    assert later.admission is not None
    assert later.admission.routes == (SITE,)
    node.now = boot.now
    node.membership.accept(later, Origin.ANNOUNCED)
    node.membership.accept(vouched, Origin.ANNOUNCED)
    bound = node.ledger.by_name("beta")
    assert bound is not None
    assert bound.claim.routes == (SITE,)


def test_where_the_roster_says_who_routes_what_a_record_does_not(boot: Node, node: Node) -> None:
    boot.policy.signed_routes = None
    node.policy.routes_from_claims = False
    vouched = boot.admissions.record_for_peer(replace(claim("beta", 3), routes=(SITE,)))
    node.membership.accept(vouched, Origin.GOSSIP)
    bound = node.ledger.by_name("beta")
    assert bound is not None
    assert not bound.claim.routes
    node.membership.set_routes("beta", (OTHER,))
    bound = node.ledger.by_name("beta")
    assert bound is not None
    assert bound.claim.routes == (OTHER,)
