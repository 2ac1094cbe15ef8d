"""The query `_claim`: answered only to bootstrap nodes that send it from their own address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from tests.unit.admissions import admission_service
from tests.unit.clock import TestClock
from tests.unit.local import LocalClaim
from tests.unit.mesh.membership.test_admissions import Authority, Node, claim
from tests.unit.policies import ScriptedPolicy

from wgmesh_agent.gossip.serf.events import Member, QueryReceived, QueryResult
from wgmesh_agent.mesh.join.address_claims import (
    ADDRESS_FREE,
    ADDRESS_TAKEN,
    AddressClaimQuery,
    AddressClaimResponder,
)
from wgmesh_agent.mesh.membership.admissions import AdmissionService
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.peer_codec import peer_message
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_api.identity import Role

WANTED = claim("new", 77)


class Gossip:
    """Answers queries from a script."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def members(self) -> Mapping[str, Member]:
        return {}

    async def query(
        self,
        name: str,
        payload: bytes = b"",
        *,
        nodes: Sequence[str] | None = None,
        direct: bool = False,
        **other: Any,
    ) -> QueryResult:
        assert direct
        self.asked.append(tuple(nodes or ()))
        return QueryResult(frozenset(nodes or ()), frozenset(), dict(self.answers))


class Ground:
    """A bootstrap node that knows another one, `boot2`, and a plain member that says it is one."""

    def __init__(
        self, answers: Mapping[str, bytes] | None = None, *, admissions: AdmissionService | None = None
    ) -> None:
        own = claim("boot", 1)
        self.ledger = Ledger(
            LocalClaim("boot", own.public_key, own.addresses, (ip_network("10.232.0.0/16"),))
        )
        self.gossip = Gossip(answers or {})
        self.promised: list[str] = []
        made = admission_service(self.ledger, RejectionLog(), ScriptedPolicy())
        members = MemberView(self.gossip, self.ledger)
        self.asking = AddressClaimQuery(members, admissions or made)
        self.claims = AddressClaimResponder(admissions or made, RejectionLog(), self, TestClock())

    def reserve(self, wanted: Claim, now: float, asker: str) -> bool:
        self.promised.append(asker)
        return wanted.addresses != (ip_address("10.232.0.66"),)

    def bind(self, node: str, number: int, *, bootstrap: bool) -> None:
        told = claim(node, number)
        told = Claim(told.node, told.public_key, told.addresses, told.endpoints, bootstrap)
        assert self.ledger.accept(told, Origin.PEERS, 1.0) is None


def query(by: str, brought_by: str | None, wanted: Claim = WANTED) -> QueryReceived:
    return QueryReceived(
        1, 1, by, "_claim", peer_message(wanted).SerializeToString(), 0.0, source_member=brought_by
    )


def test_a_bootstrap_node_is_answered() -> None:
    ground = Ground()
    ground.bind("boot2", 2, bootstrap=True)
    assert ground.claims.answer(query("boot2", "boot2")) == ADDRESS_FREE
    assert ground.claims.answer(query("boot2", "boot2", claim("other", 66))) == ADDRESS_TAKEN
    assert ground.promised == ["boot2", "boot2"]


@pytest.mark.parametrize(
    ("by", "brought_by"), [("plain", "plain"), ("boot2", "plain"), ("boot2", None), ("stranger", "stranger")]
)
def test_nobody_else_is_promised_an_address(by: str, brought_by: str | None) -> None:
    ground = Ground()
    ground.bind("boot2", 2, bootstrap=True)
    ground.bind("plain", 3, bootstrap=False)
    assert ground.claims.answer(query(by, brought_by)) is None
    assert ground.promised == []


async def test_an_address_that_another_bootstrap_node_has_promised_is_not_given() -> None:
    ground = Ground({"boot2": ADDRESS_TAKEN})
    ground.bind("boot2", 2, bootstrap=True)
    assert not await ground.asking.ask(WANTED, ["boot2"])


async def test_a_plain_member_cannot_say_that_an_address_is_taken() -> None:
    ground = Ground({"plain": ADDRESS_TAKEN, "boot2": ADDRESS_FREE})
    ground.bind("boot2", 2, bootstrap=True)
    ground.bind("plain", 3, bootstrap=False)
    assert await ground.asking.ask(WANTED, ["boot2", "plain"])


async def test_a_silent_bootstrap_node_is_asked_once_more() -> None:
    ground = Ground({"boot2": ADDRESS_FREE})
    assert await ground.asking.ask(WANTED, ["boot2", "boot3"])
    assert ground.gossip.asked == [("boot2", "boot3"), ("boot3",)]


def test_where_there_are_records_the_role_is_that_of_the_certificate() -> None:
    """A member's own tags say that it admits; nothing that it signed does."""
    authority = Authority()
    credentials = authority.credentials("alpha", Role.BOOTSTRAP)
    alpha = Node("alpha", 1, credentials, credentials)
    gamma = Node("gamma", 3, authority.credentials("gamma", Role.BOOTSTRAP), credentials)
    for number, node in ((2, "alpha"), (4, "evil")):
        told = claim(node, number)
        told = Claim(told.node, told.public_key, told.addresses, told.endpoints, bootstrap=True)
        assert gamma.ledger.accept(told, Origin.PEERS, 1.0) is None
    assert not gamma.admissions.may_admit("alpha")
    gamma.admissions.strip_unverified(alpha.admissions.record_for_peer(claim("beta", 5)))
    assert gamma.admissions.may_admit("alpha")
    assert not gamma.admissions.may_admit("evil")
