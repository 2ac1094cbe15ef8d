"""Round-trip times in user events: every part fits one, and nothing is lost between them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.unit.members import PlayedGossip, gossip_member

from wgmesh_agent.control import rtt_collector as module
from wgmesh_agent.control.rtt_collector import (
    RTT_REQUEST_EVENT,
    RTT_RESPONSE_EVENT,
    NodeRTTs,
    RTTCollector,
    split,
)
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus, UserEvent, encode_serf
from wgmesh_agent.runtime import borders
from wgmesh_api.meshservice_pb2 import RTTRequest, RTTResponse

MOST_EVENT_BYTES = 512
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=64)
SECONDS = st.floats(0, 3600)


@given(NAMES, st.dictionaries(NAMES, SECONDS, max_size=80))
def test_every_part_fits_a_user_event_and_together_they_are_the_whole(
    own: str, rtts: dict[str, float]
) -> None:
    parts = split(own, rtts.items())
    for part in parts:
        event = UserEvent(2**63, RTT_RESPONSE_EVENT, part.SerializeToString(), False)
        assert len(encode_serf(event)) <= MOST_EVENT_BYTES
        assert part.node == own
    together = {info.node: info.rttMsec for part in parts for info in part.rtts}
    assert together == {node: round(seconds * 1000) for node, seconds in rtts.items()}


def test_who_has_measured_nobody_still_answers() -> None:
    (part,) = split("n1", ())
    assert (part.node, list(part.rtts)) == ("n1", [])


def test_a_hundred_members_make_no_more_parts_than_they_must() -> None:
    parts = split("n1", [(f"node-{number:03}", 0.001) for number in range(100)])
    assert len(parts) <= 4


ODD = pytest.mark.parametrize(
    ("odd", "reason"),
    [(float("nan"), "ValueError"), (float("inf"), "OverflowError"), (1e300, "ValueError")],
)


@ODD
def test_a_member_whose_round_trip_cannot_be_told_is_left_out_alone(odd: float, reason: str) -> None:
    before = borders.rejected().get(("measured member", reason), 0)
    with capture_logs():
        (part,) = split("n1", [("n2", 0.001), ("odd", odd), ("n3", 0.002)])
    assert {info.node: info.rttMsec for info in part.rtts} == {"n2": 1, "n3": 2}
    assert borders.rejected()[("measured member", reason)] == before + 1


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
async def test_this_node_s_own_view_leaves_it_out_too(odd: float) -> None:
    seconds = {"n2": 0.001, "odd": odd, "n3": 0.002}
    gossip = PlayedGossip(*seconds)
    gossip.rtts = seconds
    with capture_logs():
        assert await anext(RTTCollector(gossip, "n1").collect_all()) == NodeRTTs("n1", {"n2": 1, "n3": 2})


async def test_everybody_s_view_comes_in_until_all_alive_have_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FURTHER_PARTS_SECONDS", 0.05)
    gossip = PlayedGossip("n1", "n2", "n3", "gone")
    gossip.table["gone"] = gossip_member("gone", status=MemberStatus.FAILED)
    gossip.rtts = {"n2": 0.010, "gone": 0.5}
    collector = RTTCollector(gossip, "n1")
    collecting = collector.collect_all()
    assert await anext(collecting) == NodeRTTs("n1", {"n2": 10})
    waiting = asyncio.ensure_future(anext(collecting))
    await asyncio.sleep(0)
    ((name, payload),) = gossip.events_sent
    assert (name, RTTRequest.FromString(payload).requestedBy) == (RTT_REQUEST_EVENT, "n1")
    for node, other in (("n2", "n3"), ("n1", "n2"), ("n3", "n2"), ("n3", "n1")):
        collector.on_response(split(node, [(other, 0.002)])[0].SerializeToString())
    collector.on_response(b"\xff")
    found = [await waiting, *[one async for one in collecting]]
    assert found == [NodeRTTs("n2", {"n3": 2}), NodeRTTs("n3", {"n2": 2}), NodeRTTs("n3", {"n1": 2})]
    # The caller has gone: a late answer is dropped.
    collector.on_response(split("n2", [])[0].SerializeToString())


async def test_requests_that_come_together_are_answered_once_and_a_later_one_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SPREAD_SECONDS", 0.0)
    gossip = PlayedGossip("n1", "n2")
    gossip.rtts = {"n2": 0.010}
    collector = RTTCollector(gossip, "n1")
    asked = RTTRequest(requestedBy="n2").SerializeToString()
    await asyncio.gather(*(collector.answer_request(asked) for _ in range(3)))
    await collector.answer_request(b"\xff")
    assert len(gossip.events_sent) == 1
    await collector.answer_request(asked)
    sent = [RTTResponse.FromString(payload) for name, payload in gossip.events_sent]
    assert [(one.node, one.rtts[0].node, one.rtts[0].rttMsec) for one in sent] == [("n1", "n2", 10)] * 2
