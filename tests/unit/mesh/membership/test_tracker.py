"""From gossip and announcements to the ledger: which members are bound, removed and rejected."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from tests.unit.admissions import admission_service
from tests.unit.clock import TestClock
from tests.unit.local import LocalClaim
from tests.unit.policies import ScriptedPolicy
from tests.unit.tunnels import PlayedTunnels

from wgmesh_agent.gossip.serf.events import Member, QueryResult
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.departures import Departures
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.peer_codec import peer_message
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.membership.tags import own_tags
from wgmesh_agent.mesh.membership.tracker import (
    FORGET_AFTER_SECONDS,
    FORGET_UNSEEN_AFTER_SECONDS,
    MembershipTracker,
)
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.meshservice_pb2 import Peer


def key(number: int) -> PublicKey:
    return PublicKey(bytes([number]) * 32)


def claim(number: int, node: str = "", address: str = "", *, bootstrap: bool = False) -> Claim:
    return Claim(
        node or f"n{number}",
        key(number),
        (ip_address(address or f"10.232.0.{number}"),),
        (Endpoint(ip_address(f"192.0.2.{number}"), 54540),),
        bootstrap,
        secret_ids=(),
    )


def member(claimed: Claim, status: MemberStatus = MemberStatus.ALIVE, address: str = "") -> Member:
    where = ip_address(address) if address else claimed.addresses[0]
    return Member(claimed.node, where, 7946, own_tags(claimed, {}), status, 1, b"", 0.0)


def announcement(claimed: Claim, kind: Peer.AnnouncementType = Peer.JOIN) -> bytes:
    return peer_message(claimed, kind).SerializeToString()


class Looks(TestClock):
    """A second passes with each look."""

    def monotonic(self) -> float:
        self.seconds += 1.0
        return self.seconds


class Ground:
    """Membership of node n9, and what gossip has."""

    def __init__(self, bindings: list[Binding]) -> None:
        own = LocalClaim("n9", key(9), (ip_address("10.232.0.9"),), (ip_network("10.232.0.0/16"),))
        self.ledger = Ledger(own, bindings)
        self.refusals = RejectionLog()
        self.policy = ScriptedPolicy()
        self.tunnels = PlayedTunnels()
        self.gossip: dict[str, Member] = {}
        self.changed, self.departures = Signal(), Departures()
        self.clock = Looks()
        admissions = admission_service(self.ledger, self.refusals, self.policy)
        self.membership = MembershipTracker(
            self.ledger,
            self.refusals,
            MemberView(self, self.ledger),
            admissions,
            self.departures,
            self.tunnels,
            self.policy,
            self.changed,
            self.clock,
        )

    @property
    def changes(self) -> int:
        """How often a change was notified."""
        return self.changed.generation

    def members(self) -> dict[str, Member]:
        """What gossip has."""
        return self.gossip

    async def query(self, *_: Any, **__: Any) -> QueryResult:
        """No member answers."""
        return QueryResult(frozenset(), frozenset(), {})

    def hear(self, heard: Member) -> None:
        self.gossip[heard.name] = heard
        self.membership.on_member_update(heard)

    def meet(self, met: Claim) -> None:
        """A live member, whose link is up, too."""
        self.hear(member(met))
        self.tunnels.live(met.addresses[0])

    def keys(self) -> set[PublicKey]:
        return {binding.claim.public_key for binding in self.ledger}


@pytest.fixture
def ground() -> Ground:
    return Ground([])


def test_a_living_member_is_bound_from_its_tags_and_seen(ground: Ground) -> None:
    ground.hear(member(claim(1)))
    binding = ground.ledger.by_name("n1")
    assert binding is not None
    assert (binding.claim, binding.origin) == (claim(1), Origin.GOSSIP)
    assert binding.last_seen > 0
    assert ground.changes == 1


def test_the_same_news_again_changes_nothing(ground: Ground) -> None:
    for _ in range(3):
        ground.hear(member(claim(1)))
    assert ground.changes == 1


def test_a_member_without_a_key_yet_is_waited_for(ground: Ground) -> None:
    ground.hear(replace(member(claim(1)), tags={}))
    assert (ground.keys(), ground.refusals.counts) == (set(), {})
    ground.hear(member(claim(1)))
    assert ground.keys() == {key(1)}


def test_this_node_s_own_news_is_none(ground: Ground) -> None:
    ground.hear(member(replace(claim(9), node="n9")))
    assert (ground.keys(), ground.refusals.counts, ground.changes) == (set(), {}, 0)


def test_a_failed_member_stays_bound_and_one_that_left_does_not(ground: Ground) -> None:
    ground.hear(member(claim(1)))
    ground.hear(member(claim(1), MemberStatus.FAILED))
    assert ground.keys() == {key(1)}
    ground.hear(member(claim(1), MemberStatus.LEAVING))
    assert ground.keys() == {key(1)}
    ground.hear(member(claim(1), MemberStatus.LEFT))
    assert ground.keys() == set()
    assert ground.changes == 2


def test_a_reaped_member_is_let_go(ground: Ground) -> None:
    ground.hear(member(claim(1)))
    ground.membership.on_reaped(member(claim(1), MemberStatus.FAILED))
    assert ground.keys() == set()


async def until_decided(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """The maximum number of checks of a departed member, without delay."""
    monkeypatch.setattr("wgmesh_agent.mesh.membership.tracker.DEPARTING_LOOK_SECONDS", 0.0)
    watching = asyncio.create_task(ground.membership.watch_departing())
    for _ in range(30):
        await asyncio.sleep(0)
    watching.cancel()


@pytest.mark.parametrize("how", ["left", "reaped"])
async def test_whoever_is_heard_through_its_tunnel_is_not_let_go_on_what_others_say(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    ground.meet(claim(1))
    if how == "left":
        ground.hear(member(claim(1), MemberStatus.LEFT))
    else:
        ground.membership.on_reaped(member(claim(1), MemberStatus.FAILED))
    assert [waiting.name for waiting in ground.departures] == ["n1"]
    await until_decided(ground, monkeypatch)
    assert ground.keys() == {key(1)}
    assert ground.refusals.counts == {"leave_of_member": 1}
    assert [waiting.name for waiting in ground.departures] == ["n1"]


async def test_who_left_is_let_go_once_its_tunnel_is_silent(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.meet(claim(1))
    ground.tunnels.die(claim(1).addresses[0])
    ground.hear(member(claim(1), MemberStatus.LEFT))
    assert ground.keys() == {key(1)}
    await until_decided(ground, monkeypatch)
    assert (ground.keys(), ground.refusals.counts) == (set(), {})


def test_who_says_goodbye_itself_is_let_go_at_once(ground: Ground) -> None:
    ground.meet(claim(1))
    ground.hear(replace(member(claim(1), MemberStatus.LEFT), says_goodbye=True))
    assert ground.keys() == set()


async def test_who_is_back_is_waited_for_no_more(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.meet(claim(1))
    ground.hear(member(claim(1), MemberStatus.LEFT))
    ground.hear(member(claim(1)))
    ground.tunnels.die(claim(1).addresses[0])
    await until_decided(ground, monkeypatch)
    assert ground.keys() == {key(1)}


async def test_another_under_the_name_of_who_left_is_bound_when_that_is_decided(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.meet(claim(1))
    ground.tunnels.die(claim(1).addresses[0])
    ground.hear(member(claim(1), MemberStatus.LEFT))
    ground.gossip["n1"] = member(claim(2, "n1", "10.232.0.1"))
    await until_decided(ground, monkeypatch)
    assert ground.keys() == {key(2)}


def test_the_goodbye_of_a_name_s_former_holder_takes_nothing_from_the_new_one(ground: Ground) -> None:
    ground.hear(member(claim(2, "n1")))
    ground.membership.on_member_update(member(claim(1), MemberStatus.LEFT))
    ground.membership.on_reaped(member(claim(1), MemberStatus.LEFT))
    assert ground.keys() == {key(2)}


@pytest.mark.parametrize(
    ("heard", "reason"),
    [
        (member(claim(1), address="10.232.0.77"), "address_mismatch"),
        (replace(member(claim(1)), tags={"_pk": "nonsense", "_i": "10.232.0.1"}), "malformed_tags"),
        (replace(member(claim(1)), tags={"_pk": str(key(1))}), "malformed_tags"),
        (member(claim(1, address="10.1.1.1")), "bad_address"),
        (member(claim(9, "n1", "10.232.0.1")), "own_key"),
        (member(claim(1, address="10.232.0.9")), "own_address"),
    ],
)
def test_tags_that_make_no_sense_or_touch_this_node_are_refused(
    ground: Ground, heard: Member, reason: str
) -> None:
    ground.hear(heard)
    assert ground.keys() == set()
    assert ground.refusals.counts == {reason: 1}


def test_an_announced_member_is_bound_before_gossip_has_it(ground: Ground) -> None:
    ground.membership.on_announcement(announcement(claim(1)))
    binding = ground.ledger.by_key(key(1))
    assert binding is not None
    assert (binding.origin, binding.last_seen) == (Origin.ANNOUNCED, 0.0)


def test_this_node_s_own_announcement_is_nothing_to_refuse(ground: Ground) -> None:
    ground.membership.on_announcement(announcement(replace(claim(9), node="n9")))
    assert (ground.keys(), ground.refusals.counts) == (set(), {})


def test_an_announced_leave_takes_back_a_joiner_that_never_came(ground: Ground) -> None:
    ground.membership.on_announcement(announcement(claim(1)))
    ground.membership.on_announcement(announcement(claim(1), Peer.LEAVE))
    assert (ground.keys(), ground.refusals.counts) == (set(), {})


@pytest.mark.parametrize("status", [MemberStatus.ALIVE, MemberStatus.LEAVING, MemberStatus.FAILED])
def test_an_announced_leave_of_a_member_is_refused(ground: Ground, status: MemberStatus) -> None:
    ground.hear(member(claim(1)))
    ground.hear(member(claim(1), status))
    ground.membership.on_announcement(announcement(claim(1), Peer.LEAVE))
    assert ground.keys() == {key(1)}
    assert ground.refusals.counts == {"leave_of_member": 1}


def test_an_announced_leave_of_one_seen_before_is_refused_even_while_gossip_does_not_know_it_yet() -> None:
    ground = Ground([Binding(claim(1), Origin.PEERS, since=1.0, last_seen=5.0)])
    ground.membership.on_announcement(announcement(claim(1), Peer.LEAVE))
    assert ground.keys() == {key(1)}
    assert ground.refusals.counts == {"leave_of_member": 1}


def test_what_a_bootstrap_node_told_goes_before_what_is_bound(ground: Ground) -> None:
    ground.hear(member(claim(1)))
    anew = claim(2, "n1", "10.232.0.1")
    assert not ground.membership.accept(anew, Origin.GOSSIP)
    assert ground.membership.accept(anew, Origin.PEERS)
    assert ground.keys() == {key(2)}


def test_even_a_bootstrap_node_does_not_give_this_node_s_own_away(ground: Ground) -> None:
    for wrong in (
        claim(9, "n1", "10.232.0.1"),
        claim(1, address="10.232.0.9"),
        claim(1, "n9"),
        claim(1, address="10.1.1.1"),
    ):
        assert not ground.membership.accept(wrong, Origin.PEERS)
    assert ground.keys() == set()


async def test_a_member_with_another_key_than_is_bound_is_in_dispute_until_it_is_settled(
    ground: Ground,
) -> None:
    ground.hear(member(claim(1)))
    ground.hear(member(claim(3)))
    anew = claim(2, "n1", "10.232.0.1")
    ground.hear(member(anew))
    assert await ground.membership.disputed_claims() == [anew]
    assert ground.refusals.counts == {"address_bound": 1}
    ground.membership.accept(anew, Origin.PEERS)
    assert await ground.membership.disputed_claims() == []


async def test_a_member_at_another_s_address_is_in_dispute(ground: Ground) -> None:
    ground.hear(member(claim(1)))
    taker = claim(2, "n2", "10.232.0.1")
    ground.hear(member(taker))
    assert await ground.membership.disputed_claims() == [taker]


@pytest.mark.parametrize(
    "nonsense",
    [
        member(claim(9, "n1", "10.232.0.1")),
        member(claim(2, "n1", "10.1.1.1")),
        replace(member(claim(1)), tags={"_pk": "nonsense"}),
        member(claim(2, "n1"), MemberStatus.FAILED),
    ],
    ids=["this node's key", "outside", "malformed", "failed"],
)
async def test_what_no_bootstrap_node_could_confirm_is_no_dispute(ground: Ground, nonsense: Member) -> None:
    ground.hear(member(claim(1)))
    ground.hear(nonsense)
    assert await ground.membership.disputed_claims() == []


def test_a_bootstrap_node_that_gossip_does_not_have_alive_is_lost(ground: Ground) -> None:
    ground.hear(member(claim(1)))
    ground.hear(member(claim(1), MemberStatus.FAILED))
    assert not ground.membership.has_failed_bootstrap()
    ground.hear(member(claim(2, bootstrap=True)))
    assert not ground.membership.has_failed_bootstrap()
    ground.hear(member(claim(2, bootstrap=True), MemberStatus.FAILED))
    assert ground.membership.has_failed_bootstrap()
    del ground.gossip["n2"]
    assert ground.membership.has_failed_bootstrap()


async def test_refreshing_takes_up_a_member_whose_news_was_lost(ground: Ground) -> None:
    ground.gossip["n1"] = member(claim(1))
    await ground.membership.refresh()
    assert ground.keys() == {key(1)}


async def test_refreshing_lets_go_of_who_was_absent_for_too_long_and_of_no_other() -> None:
    now = TestClock().unix()
    ground = Ground(
        [
            Binding(claim(1), Origin.PEERS, since=1.0, last_seen=now - FORGET_AFTER_SECONDS - 10),
            Binding(claim(2), Origin.PEERS, since=1.0, last_seen=now - FORGET_AFTER_SECONDS + 10),
            Binding(claim(3), Origin.ANNOUNCED, since=now - FORGET_UNSEEN_AFTER_SECONDS - 10),
            Binding(claim(4), Origin.ANNOUNCED, since=now - FORGET_UNSEEN_AFTER_SECONDS + 10),
            Binding(claim(5), Origin.PEERS, since=1.0, last_seen=1.0),
        ]
    )
    ground.gossip["n5"] = member(claim(5), MemberStatus.FAILED)
    await ground.membership.refresh()
    assert ground.keys() == {key(2), key(4), key(5)}


async def test_whoever_wireguard_has_a_session_with_is_forgotten_neither_for_absence_nor_on_an_announcement() -> (
    None
):
    ground = Ground(
        [Binding(claim(1), Origin.PEERS, TestClock().unix() - FORGET_UNSEEN_AFTER_SECONDS - 1, 0.0)]
    )
    ground.tunnels.sessions.add(key(1))
    await ground.membership.refresh()
    ground.membership.on_announcement(announcement(claim(1), Peer.LEAVE))
    assert ground.keys() == {key(1)}
    ground.tunnels.sessions.clear()
    await ground.membership.refresh()
    assert ground.keys() == set()


async def test_only_the_bound_key_is_seen_alive_under_its_name() -> None:
    ground = Ground([Binding(claim(1), Origin.PEERS, since=1.0, last_seen=5.0)])
    ground.gossip["n1"] = member(claim(2, "n1"))
    await ground.membership.mark_alive_members()
    binding = ground.ledger.by_key(key(1))
    assert binding is not None
    assert binding.last_seen == 5.0


def test_bound_members_that_gossip_does_not_know_are_absent() -> None:
    ground = Ground([Binding(claim(1), Origin.PEERS, since=1.0), Binding(claim(2), Origin.PEERS, since=1.0)])
    ground.gossip["n1"] = member(claim(1), MemberStatus.FAILED)
    assert [binding.claim.node for binding in ground.membership.unknown_to_gossip()] == ["n2"]


def test_a_roster_decides_who_may_be_a_member(ground: Ground) -> None:
    ground.policy.unlisted = {"n2"}
    ground.hear(member(claim(1)))
    ground.hear(member(claim(2)))
    assert ground.keys() == {key(1)}
    assert ground.refusals.counts == {"not_listed": 1}


SECRETS_A, SECRETS_B = (b"aaaa",), (b"bbbb",)


def held(ground: Ground, number: int) -> tuple[bytes, ...] | None:
    binding = ground.ledger.by_name(f"n{number}")
    return binding.claim.secret_ids if binding else None


def test_who_joins_is_bound_with_the_secrets_it_was_announced_with() -> None:
    ground = Ground([])
    ground.membership.on_announcement(announcement(replace(claim(1), secret_ids=SECRETS_A)))
    assert held(ground, 1) == SECRETS_A
    ground.hear(member(claim(1)))
    assert held(ground, 1) == ()


@pytest.mark.parametrize("origin", [Origin.ANNOUNCED, Origin.ROSTER, Origin.PEERS])
def test_what_others_say_of_a_living_members_secrets_does_not_count(origin: Origin) -> None:
    """Announcements are played back, and a status is written late."""
    ground = Ground([])
    ground.hear(member(replace(claim(1), secret_ids=SECRETS_B)))
    ground.membership.accept(replace(claim(1), secret_ids=SECRETS_A), origin)
    assert held(ground, 1) == SECRETS_B
    ground.membership.accept(replace(claim(1), secret_ids=None), origin)
    assert held(ground, 1) == SECRETS_B


@pytest.mark.parametrize(("told", "counts"), [(None, SECRETS_B), (SECRETS_A, SECRETS_A)])
def test_with_a_new_key_what_is_said_with_it_counts_else_what_the_member_said(
    told: tuple[bytes, ...] | None, counts: tuple[bytes, ...]
) -> None:
    ground = Ground([])
    ground.hear(member(replace(claim(1), secret_ids=SECRETS_B)))
    ground.membership.accept(replace(claim(1), public_key=key(7), secret_ids=told), Origin.ROSTER)
    assert ground.keys() == {key(7)}
    assert held(ground, 1) == counts
