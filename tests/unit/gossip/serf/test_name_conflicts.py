"""Two members of one name: the one known to the majority keeps it (gossip-wire section 8.5)."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from tests.unit.gossip.memberlist_harness import PORT, Bound, Loner, address, alive, endpoint
from tests.unit.gossip.serf_harness import query, said, user

from wgmesh_agent.gossip.serf.events import NameConflict
from wgmesh_agent.gossip.wire.serf_messages import (
    ConflictMember,
    ConflictResponse,
    MemberStatus,
    Query,
    QueryResponse,
    decode_serf,
    encode_serf,
)


class TestConflicts:
    def conflict(self, core: Loner, *known_as: int) -> list[NameConflict]:
        """Another node is n1; members n2, n3 … report at which address they know n1."""
        core.hear(alive("n1", 9, 77))
        core.pass_time(0.3)
        asked = said(core, Query)[0][1]
        assert (asked.name, asked.payload) == ("_serf_conflict", b"n1")
        for index, place in enumerate(known_as, start=2):
            member = ConflictMember("n1", address(place), PORT, {}, MemberStatus.ALIVE)
            payload = encode_serf(ConflictResponse(member))
            core.hear(user(QueryResponse(asked.ltime, asked.id, f"n{index}", 0, payload)), source=index)
        core.pass_time(20)
        return [event for event in core.events if isinstance(event, NameConflict)]

    @pytest.mark.parametrize(
        ("known_as", "lost"), [((1, 1, 1), False), ((1, 1, 77), False), ((1, 77, 77), True)]
    )
    def test_the_majority_decides_who_lost_our_name(self, known_as: tuple[int, ...], lost: bool) -> None:
        first, second = self.conflict(Loner().know(4), *known_as)
        assert (first.lost, first.theirs) == (None, endpoint(77))
        assert (second.lost, second.ours) == (lost, endpoint(1))

    def test_one_member_s_answers_for_all_are_one_vote(self) -> None:
        core = Loner().know(4)
        core.hear(alive("n1", 9, 77))
        core.pass_time(0.3)
        asked = said(core, Query)[0][1]
        forged = encode_serf(ConflictResponse(None))
        for index in (2, 3, 4):
            core.hear(user(QueryResponse(asked.ltime, asked.id, f"n{index}", 0, forged)), source=4)
        honest = encode_serf(ConflictResponse(ConflictMember("n1", address(1), PORT)))
        for index in (2, 3):
            core.hear(user(QueryResponse(asked.ltime, asked.id, f"n{index}", 0, honest)), source=index)
        core.pass_time(20)
        assert [event.lost for event in core.events if isinstance(event, NameConflict)] == [None, False]

    def test_a_name_under_which_this_node_was_admitted_is_lost_by_no_vote(self) -> None:
        core = Loner(vouching=Bound("n1", IPv4Address("10.0.0.1"))).know(4)
        core.hear(alive("n1", 9, 77))
        core.pass_time(20)
        assert said(core, Query) == []
        assert [event.lost for event in core.events if isinstance(event, NameConflict)] == [None]

    def test_without_any_answer_the_name_is_lost(self) -> None:
        assert self.conflict(Loner().know(2))[-1].lost is True

    def test_a_conflict_of_others_is_reported_but_not_asked_about_and_not_over_and_over(self) -> None:
        core = Loner().know(3)
        for incarnation in range(2, 50):
            core.hear(alive("n2", incarnation, 77))
        core.pass_time(1)
        assert len([event for event in core.events if isinstance(event, NameConflict)]) == 1
        assert said(core, Query) == []

    @pytest.mark.parametrize(("name", "answer"), [("n2", address(2)), ("n9", None)])
    def test_we_say_whom_we_know_by_a_name(self, name: str, answer: bytes | None) -> None:
        core = Loner().know(3)
        core.hear(user(query(name="_serf_conflict", payload=name.encode())))
        [(_, response)] = said(core, QueryResponse)
        known = decode_serf(response.payload)
        assert isinstance(known, ConflictResponse)
        assert (known.member.addr if known.member else None) == answer

    def test_about_our_own_name_we_say_nothing(self) -> None:
        core = Loner().know(3)
        core.hear(user(query(name="_serf_conflict", payload=b"n1")))
        assert said(core, QueryResponse) == []
