"""Answers of members to `_doctor`: only their valid parts are used."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.node import composed

from wgmesh_agent.diagnosis.peer_query import DOCTOR_QUERY, NAMES_BYTES, PeerQuery, batches, msec, validated
from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_api.agent_pb2 import LinkView

KEY = str(PublicKey(bytes(range(32))))


def test_what_makes_sense_is_kept() -> None:
    view = LinkView(
        interfacePubkey=KEY,
        peerKey=KEY,
        endpoint="[2001:db8::1]:54540",
        status="alive",
        heard=True,
        rxBytes=7,
    )
    assert validated(view) == view


def test_what_makes_none_is_left_out_and_the_rest_kept() -> None:
    view = LinkView(interfacePubkey="?", peerKey=KEY + "x", endpoint="\x1b[31m", status="dead", clockMsec=5)
    assert validated(view) == LinkView(clockMsec=5)


@given(st.text(max_size=100), st.text(max_size=100), st.text(max_size=100))
def test_no_text_of_another_goes_further_unless_it_is_what_it_should_be(
    key: str, endpoint: str, status: str
) -> None:
    view = validated(LinkView(interfacePubkey=key, peerKey=key, endpoint=endpoint, status=status))
    for text in (view.interfacePubkey, view.peerKey, view.endpoint, view.status):
        assert text.isprintable()
        assert len(text) <= 64


@given(st.lists(st.text(min_size=1, max_size=64), max_size=40))
def test_whom_to_ask_is_split_so_that_each_query_has_room(names: list[str]) -> None:
    found = batches(names)
    assert [name for group in found for name in group] == names
    assert all(group and sum(len(name.encode()) for name in group) <= NAMES_BYTES for group in found)


async def test_whoever_asks_gets_no_more_than_ten_answers_a_second(tmp_path: Path) -> None:
    views = PeerQuery(composed(tmp_path).links, None, SystemClock())
    asked = QueryReceived(1, 2, "n9", DOCTOR_QUERY, b"\xffnobody", 5.0)
    answers = [await views.answer_query(asked) for _ in range(50)]
    given = [answer for answer in answers if answer is not None]
    assert 10 <= len(given) < 20
    assert LinkView.FromString(given[0]).handshakeMsecAgo == -1


def test_never_is_told_from_just_now() -> None:
    assert (msec(None), msec(0.0), msec(1.5), msec(-3.0)) == (-1, 0, 1500, 0)


def test_refusals_are_remembered_by_when_they_were() -> None:
    now = [100.0]
    refusals = RejectionLog(lambda: now[0])
    refusals.record("own_name", "first")
    now[0] = 200.0
    refusals.record("own_name", "second")
    refusals.record("key_bound", "other")
    now[0] = 230.0
    assert refusals.recent(60.0) == [("key_bound", "other", 30.0), ("own_name", "second", 30.0)]
    now[0] = 300.0
    assert refusals.recent(60.0) == []
