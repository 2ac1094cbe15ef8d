from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import GossipError, PeerError
from wgmesh_agent.gossip.wire.tags import MAX_META_BYTES, decode_tags, encode_tags

TEXTS = st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(st.dictionaries(TEXTS, TEXTS, max_size=8))
def test_all_tags_come_back(tags: dict[str, str]) -> None:
    assert decode_tags(encode_tags(tags)) == tags


@given(st.binary(max_size=100))
def test_any_meta_is_tags_or_the_peers_error(meta: bytes) -> None:
    with suppress(PeerError):
        decode_tags(meta)


def test_no_tags_are_an_empty_map() -> None:
    assert encode_tags({}) == b"\xff\x80"
    assert decode_tags(b"\xff\x80") == {}
    assert decode_tags(b"\xff\xc0") == {}


def test_a_meta_without_its_mark_is_the_role() -> None:
    assert decode_tags(b"webserver") == {"role": "webserver"}
    assert decode_tags(b"") == {"role": ""}


def test_equal_tags_are_equal_bytes_whatever_their_order() -> None:
    assert encode_tags({"b": "2", "a": "1"}) == encode_tags({"a": "1", "b": "2"})


def test_tags_of_512_bytes_are_sent_and_of_513_refused() -> None:
    room = MAX_META_BYTES - len(encode_tags({"k": "x" * 300})) + 300
    assert len(encode_tags({"k": "x" * room})) == MAX_META_BYTES
    with pytest.raises(GossipError, match="513 bytes"):
        encode_tags({"k": "x" * (room + 1)})


def test_a_longer_meta_is_read() -> None:
    tags = {f"tag-{number}": "v" * 20 for number in range(60)}
    half = [dict(list(tags.items())[:16])]
    wire = b"\xff\xde\x00\x20" + encode_tags(half[0])[4:] + encode_tags(dict(list(tags.items())[16:32]))[4:]
    assert len(wire) > MAX_META_BYTES
    assert decode_tags(wire) == dict(list(tags.items())[:32])
