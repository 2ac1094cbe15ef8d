from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import GossipError, LabelError
from wgmesh_agent.gossip.wire.label import label_header, strip_label, take_label


@given(st.binary(max_size=255), st.binary(max_size=50).filter(lambda rest: rest[:1] != b"\xf4"))
def test_a_label_comes_off_as_it_went_on(label: bytes, rest: bytes) -> None:
    assert strip_label(label_header(label) + rest, label) == rest


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01abc", b"\xf4", b"\xf4\x00", b"\xf4\x05mesh", b"\xf4\x05meshB", b"\xf4\x04mesh"],
)
def test_a_label_that_is_missing_empty_short_or_another_is_refused(data: bytes) -> None:
    with pytest.raises(LabelError):
        strip_label(data, b"meshA")


def test_a_label_nobody_configured_is_refused() -> None:
    with pytest.raises(LabelError, match="no label"):
        strip_label(b"\xf4\x05meshArest", b"")


def test_a_header_in_pieces_is_waited_for_and_a_wrong_one_refused_at_its_first_wrong_byte() -> None:
    header = label_header(b"meshA")
    for length in range(len(header)):
        assert take_label(header[:length], b"meshA") is None
    assert take_label(header, b"meshA") == b""
    with pytest.raises(LabelError, match="another"):
        take_label(b"\xf4\x06", b"meshA")


def test_a_label_longer_than_its_length_byte_is_our_error() -> None:
    with pytest.raises(GossipError, match="256"):
        label_header(bytes(256))
