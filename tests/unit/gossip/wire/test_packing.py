from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import DecodeError, LimitError, PeerError
from wgmesh_agent.gossip.wire.packing import Bounds, ObjectStream, pack, unpack_first

NARROW = Bounds(array_entries=8, map_entries=8, containers=4)


@given(st.binary(max_size=300))
def test_any_bytes_unpack_or_are_the_peers_error(data: bytes) -> None:
    with suppress(PeerError):
        unpack_first(data)
    with suppress(PeerError):
        unpack_first(data, NARROW)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.data())
def test_a_stream_gives_the_same_objects_from_any_pieces(objects: list[bytes], draw: st.DataObject) -> None:
    data = b"".join(pack(value) for value in objects) + b"tail"
    stream = ObjectStream(4096)
    found: list[bytes] = []
    position = 0
    while position < len(data):
        size = draw.draw(st.integers(1, len(data) - position))
        stream.feed(data[position : position + size])
        position += size
        while len(found) < len(objects):
            there, value = stream.next_object()
            if not there:
                break
            found.append(value)
    assert found == objects
    assert stream.next_bytes(4) == b"tail"
    assert stream.next_bytes(5) is None


@given(st.binary(max_size=200))
def test_any_stream_gives_objects_or_the_peers_error(data: bytes) -> None:
    stream = ObjectStream(4096)
    with suppress(PeerError):
        for at in range(len(data)):
            stream.feed(data[at : at + 1])
            while stream.next_object()[0]:
                assert stream.next_bytes(0) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x81\x90\x01",
        b"\x81\x01\x01",
        b"\x91" * 5000,
    ],
    ids=["nothing", "never used", "huge array", "huge raw", "array as key", "integer as key", "deep"],
)
def test_what_is_not_msgpack_for_go_is_the_peers_error(data: bytes) -> None:
    with pytest.raises(DecodeError, match="not msgpack"):
        unpack_first(data)


def test_bytes_after_the_first_object_are_handed_back() -> None:
    assert unpack_first(b"\x05rest") == (5, b"rest")


def test_the_count_of_containers_is_limited() -> None:
    assert unpack_first(pack([[], [], []]), NARROW)[0] == [[], [], []]
    with pytest.raises(LimitError, match="more than 4"):
        unpack_first(pack([[], [], [], []]), NARROW)


def test_a_streams_objects_are_limited_each_and_the_stream_in_all() -> None:
    stream = ObjectStream(100)
    for _ in range(3):
        stream.feed(pack([[]] * 15))
        assert stream.next_object()[0]
    stream.feed(pack([[]] * 16))
    with pytest.raises(LimitError, match="16"):
        stream.next_object()
    with pytest.raises(LimitError, match="100 bytes"):
        ObjectStream(100).feed(b"\xc0" * 101)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "data",
    [
        b"\xdc\x04\x00" * 20_000,
        b"\xdc\x04\x00" * 1000 + b"\xc0" * 60_000,
        b"\xdc\x04\x00" + (b"\xdc\x00\x40" + b"\x80" * 64) * 970,
        b"\xdf\x00\x00\x04\x00" + b"\xa1k\x80" * 1024,
    ],
    ids=["claims in claims", "claims then nils", "empty maps", "one key"],
)
def test_a_datagram_of_claims_takes_little_memory_and_time(data: bytes) -> None:
    assert len(data) <= 65536
    tracemalloc.start()
    started = time.perf_counter()
    with suppress(PeerError):
        unpack_first(data)
    took = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20
    assert took < 1
