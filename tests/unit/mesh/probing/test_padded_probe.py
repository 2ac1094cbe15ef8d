"""Padded probes: as long as asked, answered shortly, and nothing else is one."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.mesh.probing.liveness import LivenessProber
from wgmesh_agent.mesh.probing.padded_probe import (
    HEADERS_BYTES,
    SMALL_BYTES,
    decode_reply,
    encode_probe,
    encode_reply,
)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [SMALL_BYTES, 1280, 1420, 8940])
def test_a_question_makes_a_packet_of_its_size_and_is_answered_by_a_small_one(
    version: int, size: int
) -> None:
    asked = encode_probe(7, size, version)
    assert len(asked) + HEADERS_BYTES[version] == size
    said = encode_reply(asked, version)
    assert said is not None
    assert len(said) < SMALL_BYTES
    assert decode_reply(said) == (7, size)


def test_a_question_that_lost_a_part_is_none() -> None:
    assert encode_reply(encode_probe(7, 1420, 4)[:-1], 4) is None
    assert encode_reply(encode_probe(7, 1420, 4), 6) is None


def test_no_answer_is_answered_and_no_question_is_an_answer() -> None:
    asked = encode_probe(7, 1420, 4)
    said = encode_reply(asked, 4)
    assert said is not None
    assert encode_reply(said, 4) is None
    assert decode_reply(asked) is None


def test_other_probes_take_no_notice() -> None:
    source = ip_address("10.232.0.1")
    hearing = LivenessProber(random.Random(1))
    hearing.set_peers({source: "x"}, 0.0)
    ((_, probe),) = hearing.due(1.0)
    assert encode_reply(probe, 4) is None
    assert decode_reply(probe) is None
    assert not hearing.received(source, encode_probe(1, 1420, 4), 1.0)


@given(st.binary(max_size=2000))
def test_any_datagram_is_one_or_is_not(payload: bytes) -> None:
    said = encode_reply(payload, 4)
    assert said is None or len(said) < SMALL_BYTES
    decode_reply(payload)
