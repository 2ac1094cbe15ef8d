"""Roster to ledger: deleted members are removed, live ones may leave, and no inconsistent roster dismantles a mesh."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.kube.harness import (
    MADE,
    MemoryApi,
    SessionGround,
    claim,
    mesh_body,
    node_body,
    node_path,
    public_key,
)

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.session_start import SessionConfig, SessionStart
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.kube.api_client import ApiError, meshes_path
from wgmesh_agent.kube.certificate import CertificateStore
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.kube.roster_policy import RosterPolicy
from wgmesh_agent.kube.roster_sync import (
    LEAVE_GRACE_SECONDS,
    REPORT_DEADLINE_SECONDS,
    RESYNC_SECONDS,
    RosterSync,
    claim_of,
)
from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.join.decision import DenialReason, Denied
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.runtime.chunks import CHUNK_SIZE
from wgmesh_api.roster import read_node

BETA, GAMMA, LAPTOP = claim("beta", 2), claim("gamma", 3), claim("laptop", 7)


def recorded(claim: Claim, moment: datetime) -> Claim:
    """With an admission record from then on."""
    begins = int(moment.timestamp()) * 1_000_000
    record = AdmissionRecord(
        "blue", claim.node, claim.public_key, claim.addresses, begins, begins + 86_400_000_000, b"", b"", b""
    )
    return replace(claim, admission=record)


class Ground:
    """The node alpha, which entered by uid-alpha; beta, gamma and the machine laptop outside are members too."""

    def __init__(self, folder: Path) -> None:
        self.api = MemoryApi()
        self.api.put(mesh_body())
        self.api.put(node_body())
        self.api.put(node_body("beta", 2, key=public_key(2)))
        self.api.put(node_body("gamma", 3, key=public_key(3)))
        self.api.put(node_body("laptop", 7, key=public_key(7), external=True))
        self.view = RosterCache("blue", "alpha")
        self.view.start(self.api)
        self.identity = CertificateStore(folder)
        self.identity.save_uid("uid-alpha")
        self.policy = RosterPolicy(self.view, self.identity)
        self.clock, self.now = 1000.0, 5_000_000.0
        self.certified = True
        self.moved = 0
        self.following = RosterSync(
            self.api,
            self.view,
            self.identity,
            self.policy,
            lambda own: self.certified,
            self._next_start,
            clock=lambda: self.clock,
            now_unix=lambda: self.now,
        )
        self.session = SessionGround(folder, self.policy)
        for member in (BETA, GAMMA, LAPTOP):
            self.session.bind(member)
            self.session.gossips(member)

    def _next_start(self, node: MeshNode) -> SessionStart:
        self.moved += 1
        return SessionStart(SessionConfig(None, None, None), node.policies, node.record)

    async def look(self) -> bool:
        return await self.following.reconcile(self.session.node, self.session.end)

    def bound(self) -> set[str]:
        return set(self.session.bound())

    @property
    def leaves(self) -> bool:
        return self.session.leave_requested.is_set()


@pytest.fixture
async def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.mark.parametrize("order", [("aaa", "zzz"), ("zzz", "aaa")])
async def test_of_two_with_one_address_every_agent_has_the_same(
    ground: Ground, order: tuple[str, str]
) -> None:
    numbers = {"aaa": 8, "zzz": 9}
    for name in order:
        body = node_body(name, 8, key=public_key(numbers[name]))
        ground.api.put(body)
        await ground.look()
    assert "aaa" in ground.bound()
    assert "zzz" not in ground.bound()
    assert not ground.policy.admits("zzz")
    with pytest.raises(Denied, match=r"zzz has an address of aaa in the roster"):
        ground.policy.assigned_addresses("zzz", Caller("zzz"))
    ground.api.remove(node_path("aaa"))
    await ground.look()
    assert ground.policy.admits("zzz")


async def test_who_comes_later_with_a_members_address_does_not_take_it(ground: Ground) -> None:
    ground.api.put(node_body("aaa", 2, key=public_key(8), created=MADE + timedelta(seconds=1)))
    await ground.look()
    assert ground.session.bound()["beta"] == public_key(2)
    assert "aaa" not in ground.bound()


async def test_the_key_of_an_external_member_is_its_records_where_records_are_required(
    ground: Ground, tmp_path: Path
) -> None:
    ground.session = SessionGround(tmp_path / "another", ground.policy, requires_admission=True)
    assert not await ground.look()
    assert ground.bound() == {"beta", "gamma"}


async def test_members_of_the_roster_are_bound_by_what_they_report(ground: Ground) -> None:
    ground.api.put(node_body("delta", 4, key=public_key(4)))
    assert not await ground.look()
    assert ground.session.bound()["delta"] == public_key(4)
    assert ground.bound() == {"beta", "gamma", "laptop", "delta"}
    assert not ground.leaves


@pytest.mark.parametrize(("told", "held"), [(["0a0b0c0d"], (b"\n\x0b\x0c\r",)), (["odd"], ()), (None, ())])
async def test_a_new_member_is_bound_with_the_secrets_it_reports(
    ground: Ground, told: list[str] | None, held: tuple[bytes, ...]
) -> None:
    """So that a node which starts from the roster alone agrees with the others on pre-shared keys."""
    key = {"publicKey": str(public_key(4))}
    status = key if told is None else {**key, "secretIds": told}
    ground.api.put(node_body("delta", 4, status=status))
    await ground.look()
    binding = ground.session.ledger.by_name("delta")
    assert binding is not None
    assert binding.claim.secret_ids == held


class TestOthersThatAreDeleted:
    async def test_a_living_one_has_some_seconds_to_say_goodbye_and_no_more(self, ground: Ground) -> None:
        ground.api.put(node_body("beta", 2, key=public_key(2), deleting=True))
        await ground.look()
        assert "beta" in ground.bound()
        ground.clock += LEAVE_GRACE_SECONDS
        await ground.look()
        assert "beta" not in ground.bound()

    async def test_one_that_has_left_goes_at_once(self, ground: Ground) -> None:
        ground.api.put(node_body("beta", 2, key=public_key(2), deleting=True, status={"phase": "Left"}))
        await ground.look()
        assert "beta" not in ground.bound()

    async def test_one_whose_machine_is_silent_goes_at_once(self, ground: Ground) -> None:
        ground.session.gossips(BETA, MemberStatus.FAILED)
        ground.api.put(node_body("beta", 2, key=public_key(2), deleting=True))
        await ground.look()
        assert "beta" not in ground.bound()

    async def test_a_machine_outside_goes_at_once(self, ground: Ground) -> None:
        ground.api.put(node_body("laptop", 7, key=public_key(7), external=True, deleting=True))
        await ground.look()
        assert "laptop" not in ground.bound()

    async def test_one_that_is_gone_from_the_roster_goes_at_once(self, ground: Ground) -> None:
        ground.api.remove(node_path("gamma"))
        await ground.look()
        assert "gamma" not in ground.bound()

    async def test_no_gossip_brings_back_who_was_cut_off_while_its_object_is_still_there(
        self, ground: Ground
    ) -> None:
        ground.api.put(node_body("laptop", 7, key=public_key(7), external=True, deleting=True))
        await ground.look()
        assert not ground.session.membership.accept(LAPTOP, Origin.ANNOUNCED)
        await ground.look()
        assert "laptop" not in ground.bound()

    async def test_one_made_anew_under_the_same_name_is_let_in_again(self, ground: Ground) -> None:
        ground.api.put(node_body("laptop", 7, key=public_key(7), external=True, deleting=True))
        await ground.look()
        ground.api.remove(node_path("laptop"))
        ground.api.put(node_body("laptop", 7, uid="uid-anew", external=True))
        await ground.look()
        assert ground.session.membership.accept(LAPTOP, Origin.ANNOUNCED)

    @pytest.mark.parametrize(("node", "number"), [("laptop", 7), ("beta", 2)])
    async def test_one_made_anew_at_once_is_not_taken_for_its_namesake(
        self, ground: Ground, node: str, number: int
    ) -> None:
        await ground.look()
        assert ground.following.member_uid(node) == f"uid-{node}"
        ground.api.remove(node_path(node))
        ground.api.put(node_body(node, number, uid="uid-anew", external=node == "laptop"))
        assert ground.following.member_uid(node) == f"uid-{node}"
        ground.session.gossips(claim(node, number), MemberStatus.FAILED)
        await ground.look()
        assert node not in ground.bound()
        assert ground.following.member_uid(node) == "uid-anew"

    @pytest.mark.parametrize(("seconds", "stays"), [(-1.0, False), (1.0, True)])
    async def test_a_machine_made_anew_while_this_agent_was_down_is_told_by_its_record(
        self, ground: Ground, seconds: float, stays: bool
    ) -> None:
        ground.session.ledger.remove(public_key(7))
        ground.session.bind(recorded(LAPTOP, MADE + timedelta(seconds=seconds)), Origin.RECORD)
        ground.session.gossips(LAPTOP, MemberStatus.FAILED)
        ground.api.put(node_body("laptop", 7, external=True))
        await ground.look()
        assert ("laptop" in ground.bound()) is stays

    async def test_one_whose_object_cannot_be_read_stays(self, ground: Ground) -> None:
        ground.api.put({**node_body("beta", 2), "spec": {}})
        await ground.look()
        assert "beta" in ground.bound()


class TestKeys:
    async def test_a_member_s_own_report_counts_against_what_is_bound(self, ground: Ground) -> None:
        ground.api.put(node_body("beta", 2, key=public_key(22)))
        await ground.look()
        assert ground.session.bound()["beta"] == public_key(22)

    async def test_a_member_admitted_here_with_a_new_key_has_a_minute_to_report_it(
        self, ground: Ground
    ) -> None:
        ground.session.ledger.remove(public_key(2))
        ground.session.bind(claim("beta", 2, key=22), Origin.ADMITTED, since=ground.now)
        await ground.look()
        assert ground.session.bound()["beta"] == public_key(22)
        ground.now += REPORT_DEADLINE_SECONDS
        await ground.look()
        assert ground.session.bound()["beta"] == public_key(2)

    async def test_a_record_s_key_has_a_minute_to_be_reported(self, ground: Ground) -> None:
        ground.session.ledger.remove(public_key(2))
        ground.session.bind(claim("beta", 2, key=22), Origin.RECORD, since=ground.now)
        await ground.look()
        assert ground.session.bound()["beta"] == public_key(22)
        ground.now += REPORT_DEADLINE_SECONDS
        await ground.look()
        assert ground.session.bound()["beta"] == public_key(2)

    async def test_the_key_that_is_to_come_is_what_the_member_itself_says(self, ground: Ground) -> None:
        assert ground.policy.announced_key("beta") is None
        ground.api.put(node_body("beta", 2, key=public_key(2), status={"nextPublicKey": str(public_key(22))}))
        assert ground.policy.announced_key("beta") == public_key(22)
        assert ground.policy.announced_key("nobody") is None

    async def test_a_machine_outside_keeps_its_new_key_though_the_roster_still_tells_the_old_one(
        self, ground: Ground
    ) -> None:
        ground.session.ledger.remove(public_key(7))
        ground.session.bind(claim("laptop", 7, key=77), Origin.PEERS)
        ground.now += 10 * REPORT_DEADLINE_SECONDS
        await ground.look()
        assert ground.session.bound()["laptop"] == public_key(77)


class TestThisNode:
    async def test_it_leaves_when_its_object_is_deleted(self, ground: Ground) -> None:
        ground.api.put(node_body(deleting=True))
        assert await ground.look()
        assert ground.leaves

    async def test_it_leaves_when_its_object_was_made_anew(self, ground: Ground) -> None:
        ground.api.put(node_body(uid="uid-anew"))
        assert await ground.look()
        assert ground.leaves

    async def test_it_leaves_when_it_was_deleted_while_the_api_was_away(self, ground: Ground) -> None:
        ground.api.away = True
        ground.api.lose(node_path())
        assert not await ground.look()
        ground.api.back()
        assert await ground.look()
        assert ground.leaves

    async def test_it_leaves_when_the_mesh_and_all_of_it_are_gone(self, ground: Ground) -> None:
        ground.api.away = True
        ground.api.lose(*list(ground.api.objects))
        ground.api.back()
        assert await ground.look()
        assert ground.leaves

    async def test_it_stays_when_an_object_that_is_there_was_not_listed(self, ground: Ground) -> None:
        own = ground.api.objects[node_path()]
        ground.api.remove(node_path())
        ground.api.objects[node_path()] = own
        assert not await ground.look()
        assert not ground.leaves

    async def test_it_stays_while_it_cannot_ask_whether_it_was_deleted(self, ground: Ground) -> None:
        ground.api.remove(node_path())
        ground.api.refusals = [ApiError("not now", 503)]
        assert not await ground.look()
        assert not ground.leaves
        assert await ground.look()

    async def test_it_stays_and_keeps_all_peers_when_the_roster_of_a_mesh_that_is_there_is_emptied(
        self, ground: Ground
    ) -> None:
        await ground.look()
        ground.api.away = True
        ground.api.lose(*(path for path in list(ground.api.objects) if path != meshes_path("blue")))
        ground.api.back()
        with capture_logs() as logs:
            for _ in range(3):
                assert not await ground.look()
        assert not ground.leaves
        assert ground.bound() == {"beta", "gamma", "laptop"}
        assert [line["event"] for line in logs] == ["roster is inconsistent: this node is missing from it"]
        assert ground.session.membership.accept(claim("delta", 4), Origin.ANNOUNCED)
        ground.api.put(node_body())
        assert not await ground.look()
        assert ground.bound() == set()

    async def test_an_object_that_cannot_be_read_changes_nothing(self, ground: Ground) -> None:
        ground.api.put({**node_body(), "spec": {}})
        assert not await ground.look()
        assert not ground.leaves

    async def test_who_does_not_know_by_which_object_it_entered_notes_the_one_there_is(
        self, ground: Ground, tmp_path: Path
    ) -> None:
        ground.identity.save_uid("")
        await ground.look()
        assert CertificateStore(tmp_path).uid() == "uid-alpha"

    async def test_a_new_role_begins_when_the_certificate_says_it(self, ground: Ground) -> None:
        ground.certified = False
        ground.api.put(node_body(bootstrap=True))
        assert not await ground.look()
        ground.certified = True
        assert await ground.look()
        assert ground.moved == 1
        assert not ground.leaves


class TestAdmission:
    CERTIFICATE = Caller("holder", not_before=MADE)

    def test_a_machine_outside_gets_the_address_of_the_roster(self, ground: Ground) -> None:
        assert [str(a) for a in ground.policy.assigned_addresses("laptop", self.CERTIFICATE)] == [
            "10.232.0.7"
        ]

    def test_a_certificate_of_a_deleted_namesake_is_revoked(self, ground: Ground) -> None:
        older = Caller("holder", not_before=MADE - timedelta(seconds=1))
        with pytest.raises(Denied) as caught:
            ground.policy.assigned_addresses("laptop", older)
        assert caught.value.reason is DenialReason.REVOKED

    def test_who_is_deleted_or_unknown_is_not_admitted(self, ground: Ground) -> None:
        ground.api.put(node_body("laptop", 7, external=True, deleting=True))
        for node in ("laptop", "stranger"):
            with pytest.raises(Denied) as caught:
                ground.policy.assigned_addresses(node, self.CERTIFICATE)
            assert caught.value.reason is DenialReason.NOT_LISTED


async def test_the_roster_says_which_networks_are_behind_whom(ground: Ground) -> None:
    site, own = ip_network("192.168.7.0/24"), ip_network("10.244.0.0/24")
    ground.api.put(node_body("beta", 2, key=public_key(2), routes=[str(site)]))
    ground.api.put(node_body(routes=[str(own)]))
    await ground.look()
    bound = ground.session.ledger.by_name("beta")
    assert bound is not None
    assert bound.claim.routes == (site,)
    assert ground.session.local.routes == (own,)
    ground.api.put(node_body("beta", 2, key=public_key(2)))
    await ground.look()
    bound = ground.session.ledger.by_name("beta")
    assert bound is not None
    assert not bound.claim.routes


async def test_a_member_that_is_reached_elsewhere_from_outside_is_tried_there(ground: Ground) -> None:
    own, first, second = (f"{address}:54540" for address in ("192.0.2.2", "203.0.113.7", "203.0.113.8"))

    async def tried(hint: str) -> list[str]:
        ground.api.put(node_body("beta", 2, key=public_key(2), endpointHint=hint))
        await ground.look()
        bound = ground.session.ledger.by_name("beta")
        assert bound is not None
        return [str(endpoint) for endpoint in bound.claim.endpoints]

    assert await tried("203.0.113.7") == [own, first]
    assert await tried("203.0.113.8") == [own, second, first]
    assert await tried("203.0.113.8") == [own, second, first]
    assert await tried("203.0.113.7") == [own, first, second]
    assert await tried("10.232.0.9") == [own, first, second]  # inside the mesh itself
    assert [(key, str(endpoint)) for key, endpoint in ground.session.hinted] == [
        (public_key(2), endpoint) for endpoint in (first, second, first)
    ]


class TestLargeRosters:
    async def test_news_of_one_member_has_only_that_one_looked_at_and_all_now_and_then(
        self, ground: Ground, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await ground.look()
        looked: list[str] = []
        take_in = RosterSync._upsert

        def counted(self: RosterSync, session: Any, name: str) -> None:
            looked.append(name)
            take_in(self, session, name)

        monkeypatch.setattr(RosterSync, "_upsert", counted)
        for _ in range(5):
            ground.api.put(node_body("beta", 2, key=public_key(2), status={"reachablePeers": 1}))
            await ground.look()
        assert set(looked) == {"beta"}
        ground.clock += RESYNC_SECONDS
        ground.api.put(node_body("beta", 2, key=public_key(2), status={"reachablePeers": 2}))
        await ground.look()
        assert set(looked) == {"alpha", "beta", "gamma", "laptop"}

    async def test_thousands_are_compared_in_slices(self, ground: Ground) -> None:
        ground.api.away = True
        for number in range(3 * CHUNK_SIZE):
            ground.api.put(node_body(f"m{number}", 9))
        ground.api.back()
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        await ground.look()
        task.cancel()
        assert turns >= 6


def test_a_members_outer_address_is_another_endpoint_to_try() -> None:
    body = node_body("n2", 2, key=public_key(2))
    body["spec"]["endpointHint"] = "203.0.113.9"
    claim = claim_of(read_node(body))
    assert claim is not None
    assert [str(endpoint) for endpoint in claim.endpoints] == ["192.0.2.2:54540", "203.0.113.9:54540"]
