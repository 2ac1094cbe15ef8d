"""Version vectors: what may merge with what (gossip-wire section 5)."""

from __future__ import annotations

import pytest

from wgmesh_agent.gossip.wire import versions

OURS = versions.OWN_VERSIONS
AGENT = bytes([1, 5, 2, 2, 5, 5])


def vector(*numbers: int) -> bytes:
    return bytes(numbers)


@pytest.mark.parametrize(
    ("vsn", "understood"),
    [
        (OURS, True),
        (AGENT, True),
        (vector(1, 5, 2, 2, 5, 2), True),
        (vector(1, 1, 1, 2, 5, 4), False),
        (vector(1, 1, 2, 2, 5, 4), False),
        (vector(3, 5, 3, 2, 5, 4), False),
        (vector(5, 5, 5, 5, 5, 5), False),
        (vector(1, 5, 2, 5, 5, 5), False),
        (vector(1, 5, 0, 2, 5, 4), False),
        (vector(1, 9, 7, 2, 5, 4), False),
        (vector(0, 5, 2, 2, 5, 4), False),
        (vector(1, 0, 2, 2, 5, 4), False),
        (vector(5, 1, 2, 2, 5, 4), False),
        *((OURS[:length], False) for length in range(6)),
        (OURS + b"\x01", False),
    ],
)
def test_members_speak_with_us_if_each_speaks_what_the_other_understands(
    vsn: bytes, understood: bool
) -> None:
    assert versions.speaks_with_us(vsn) is understood


@pytest.mark.parametrize(
    ("highest", "tcp", "nack", "crc"),
    [(2, False, False, False), (3, True, False, False), (4, True, True, False), (5, True, True, True)],
)
def test_features_follow_the_highest_protocol(highest: int, tcp: bool, nack: bool, crc: bool) -> None:
    vsn = vector(1, highest, 2, 2, 5, 4)
    assert versions.answers_tcp_ping(vsn) is tcp
    assert versions.sends_nack(vsn) is nack
    assert versions.checks_crc(vsn) is crc
    assert versions.relays(vsn) is crc
    assert not versions.checks_crc(b"")
