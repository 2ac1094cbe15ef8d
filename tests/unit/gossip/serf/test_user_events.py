"""User events (gossip-wire section 8.4): delivered once, passed on as they came, and bounded."""

from __future__ import annotations

import pytest
from tests.unit.gossip.memberlist_harness import Loner
from tests.unit.gossip.serf_harness import user

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.serf.events import UserEventReceived
from wgmesh_agent.gossip.wire.messages import UserMessage
from wgmesh_agent.gossip.wire.serf_messages import (
    UserEvent,
    encode_serf,
)


class TestUserEvents:
    def test_a_new_event_is_delivered_once_and_passed_on_byte_for_byte(self) -> None:
        core = Loner().know(3)
        # A field unknown here, and the keys in another order: not what we would write.
        payload = bytes([3]) + b"\x85\xa4Name\xa1e\xa5LTime\x07\xa7Payload\xa1x\xa2CC\xc3\xa3New\x01"
        core.hear(UserMessage(payload), UserMessage(payload))
        assert [event for event in core.events if isinstance(event, UserEventReceived)] == [
            UserEventReceived(7, "e", b"x", True)
        ]
        core.clear()
        core.pass_time(1)
        assert {message.payload for _, message, _ in core.of(UserMessage)} == {payload}

    def test_our_own_event_is_delivered_here_too_and_steps_the_clock(self) -> None:
        core = Loner()
        core.do(lambda serf: serf.user_event("a", b"", core.now))
        core.do(lambda serf: serf.user_event("b", b"", core.now, coalesce=True))
        assert core.events[-2:] == [
            UserEventReceived(1, "a", b"", False),
            UserEventReceived(2, "b", b"", True),
        ]

    def test_an_event_past_512_bytes_is_our_error(self) -> None:
        core = Loner()
        overhead = len(encode_serf(UserEvent(1, "n", bytes(400)))) - 400
        core.core.user_event("n", bytes(512 - overhead), 0.0)
        with pytest.raises(GossipError, match="512"):
            core.core.user_event("n", bytes(513 - overhead), 0.0)

    def test_a_peers_event_past_the_hard_limit_is_refused(self) -> None:
        core = Loner()
        core.hear(user(UserEvent(1, "e", bytes(9300))))
        assert core.core.counters.refused["user event: too large"] == 1

    def test_one_too_large_to_gossip_is_delivered_but_not_queued(self) -> None:
        core = Loner().know(2)
        core.hear(user(UserEvent(1, "e", bytes(2000))))
        assert any(isinstance(event, UserEventReceived) for event in core.events)
        assert core.core.counters.refused["broadcast: too large for a datagram"] == 1
