"""Version vectors: what may merge with what (gossip-wire section 5)."""

from __future__ import annotations

import pytest

from wgmesh_agent.gossip import versions

OURS = versions.OWN_VERSIONS
AGENT = bytes([1, 5, 2, 2, 5, 5])


def vector(*numbers: int) -> bytes:
    return bytes(numbers)


@pytest.mark.parametrize(
    ("others", "refused"),
    [
        ([AGENT], None),
        ([vector(1, 1, 2, 2, 5, 4)], "memberlist protocol"),
        ([vector(3, 5, 3, 2, 5, 4)], "memberlist protocol 2"),
        ([vector(1, 5, 2, 5, 5, 5)], "serf protocol 4"),
        ([vector(1, 5, 0, 2, 5, 4)], "memberlist protocol 0"),
        ([b""], "memberlist protocol"),
    ],
)
def test_all_must_speak_what_all_alive_understand(others: list[bytes], refused: str | None) -> None:
    nodes = [("ours", OURS), *((f"other{index}", vsn) for index, vsn in enumerate(others))]
    refusal = versions.merge_refusal(nodes, nodes)
    assert refusal is None if refused is None else refusal is not None and refused in refusal


def test_a_dead_node_narrows_nothing_but_must_fit_itself() -> None:
    narrow_but_fitting = ("dead", vector(2, 2, 2, 4, 4, 4))
    assert versions.merge_refusal([("ours", OURS)], [("ours", OURS), narrow_but_fitting]) is None
    unfit = ("dead", vector(1, 9, 7, 2, 5, 4))
    assert versions.merge_refusal([("ours", OURS)], [("ours", OURS), unfit]) is not None


@pytest.mark.parametrize(
    ("vsn", "acceptable"),
    [
        (OURS, True),
        (b"", True),
        (vector(0, 5, 2, 2, 5, 4), False),
        (vector(1, 0, 2, 2, 5, 4), False),
        (vector(5, 1, 2, 2, 5, 4), False),
        *((OURS[:length], False) for length in range(1, 6)),
        (OURS + b"\x01", False),
    ],
)
def test_an_alive_message_may_lack_versions_but_not_lie_about_them(vsn: bytes, acceptable: bool) -> None:
    assert versions.acceptable_alive(vsn) is acceptable


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
