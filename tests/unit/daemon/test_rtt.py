"""Round-trip times in user events: every part fits one, and nothing is lost between them."""

from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.daemon.rtt import RESPONSE, split
from wgmesh_agent.gossip.serf_messages import UserEvent, encode_serf

MOST_EVENT_BYTES = 512
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=64)
SECONDS = st.floats(0, 3600)


@given(NAMES, st.dictionaries(NAMES, SECONDS, max_size=80))
def test_every_part_fits_a_user_event_and_together_they_are_the_whole(
    own: str, rtts: dict[str, float]
) -> None:
    parts = split(own, rtts.items())
    for part in parts:
        event = UserEvent(2**63, RESPONSE, part.SerializeToString(), False)
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
