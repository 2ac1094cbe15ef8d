from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import DecodeError, GossipError, PeerError
from wgmesh_agent.gossip.wire.filters import Filter, NodeFilter, TagFilter, decode_filter, encode_filter

NAMES = st.binary(max_size=30).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(st.builds(NodeFilter, st.lists(NAMES, max_size=5).map(tuple)) | st.builds(TagFilter, NAMES, NAMES))
def test_every_filter_comes_back(filter_: Filter) -> None:
    assert decode_filter(encode_filter(filter_)) == filter_


@given(st.binary(max_size=100))
def test_any_bytes_are_a_filter_or_the_peers_error(data: bytes) -> None:
    with suppress(PeerError):
        decode_filter(data)


@pytest.mark.parametrize("data", [b"", b"\x02\x80", b"\x00\x80", b"\x00\x91\x05", b"\x01\x90"])
def test_what_is_no_filter_is_the_peers_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_filter(data)


def test_what_is_no_filter_is_our_error_when_we_send_it() -> None:
    with pytest.raises(GossipError):
        encode_filter("py1")  # type: ignore[arg-type]
