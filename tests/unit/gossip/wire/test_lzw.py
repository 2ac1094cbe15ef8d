from __future__ import annotations

import hashlib
import random
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import DecodeError, LimitError, PeerError
from wgmesh_agent.gossip.wire import lzw

LIMIT = 2**24


def buffer(alphabet: int, size: int) -> bytes:
    return bytes(byte % alphabet for byte in random.Random(7).randbytes(size))


def coded(codes: list[int]) -> bytes:
    """Codes in a bit stream whose width grows as the format says, with no clear code of its own."""
    bits = bit_count = 0
    width, known = 9, 257
    for code in codes:
        bits |= code << bit_count
        bit_count += width
        if code == 256:
            width, known = 9, 257
            continue
        known += 1
        if known == 1 << width and width < 12:
            width += 1
    return bits.to_bytes((bit_count + 7) // 8, "little")


@pytest.mark.parametrize(
    ("alphabet", "lengths", "digest"),
    [
        (256, range(300), "e6ae775ba4e925cf506ec69cc160db707d9c7587d79d1de49de15866c9889242"),
        (256, range(3940, 3960), "9729340dd6557b0275429f5228e054779b0954aaa75d7e364060c639c5ff413c"),
        (256, range(7700, 7800), "c9b854aa6312ca2d8284a9214d58af865e5f3d8f9a7886e263748d69941e6d60"),
        (2, range(0, 40000, 997), "4864a4dadf728ed554ce7c2825ddca1800e79d4753541ac87617167a062a6b13"),
        (1, range(0, 20000, 499), "cd85e5a1ac3f7e5f4c1b073df0face52ee8ac096798b2e8dd216fb75bf202344"),
        (16, range(30000, 30003), "570801bb14b20ccc332d9bf1f14ea610755b0749a994138bb727a66b3caf7166"),
    ],
)
def test_the_encoder_writes_what_go_writes(alphabet: int, lengths: range, digest: str) -> None:
    """Digests of the output of Go 1.26's compress/lzw for the same buffers, code 4095 at their ends included."""
    data = buffer(alphabet, lengths.stop)
    ours = hashlib.sha256()
    for length in lengths:
        ours.update(lzw.compress(data[:length]))
    assert ours.hexdigest() == digest


@given(st.binary(max_size=2000))
def test_any_bytes_come_back(data: bytes) -> None:
    assert lzw.decompress(lzw.compress(data), LIMIT) == data


@given(st.integers(1, 256), st.integers(0, 40_000))
def test_buffers_of_every_entropy_come_back(alphabet: int, size: int) -> None:
    data = buffer(alphabet, size)
    assert lzw.decompress(lzw.compress(data), LIMIT) == data


@given(st.binary(max_size=400))
def test_any_bytes_decompress_or_are_the_peers_error(data: bytes) -> None:
    with suppress(PeerError):
        assert len(lzw.decompress(data, 5000)) <= 5000


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_damaged_stream_decompresses_or_is_the_peers_error(data: bytes, draw: st.DataObject) -> None:
    compressed = bytearray(lzw.compress(data))
    at = draw.draw(st.integers(0, len(compressed) - 1))
    compressed[at] ^= 1 << draw.draw(st.integers(0, 7))
    with suppress(PeerError):
        lzw.decompress(bytes(compressed), LIMIT)


def test_no_bytes_compress_to_clear_and_end() -> None:
    assert lzw.compress(b"") == coded([256, 257])
    assert lzw.decompress(coded([256, 257]), 0) == b""


def test_a_stream_without_a_leading_clear_is_read() -> None:
    assert lzw.decompress(coded([65, 66, 258, 260, 257]), LIMIT) == b"ABABABA"


def test_a_code_that_is_just_being_defined_is_read() -> None:
    assert lzw.decompress(coded([256, 97, 258, 259, 257]), LIMIT) == b"a" * 6


def test_a_table_that_is_full_stays_full_at_twelve_bits() -> None:
    literals = list(random.Random(3).randbytes(5000))
    codes = [*literals, 4095, 258, 257]
    pair = bytes(literals[4095 - 258 : 4095 - 258 + 2])
    assert lzw.decompress(coded(codes), LIMIT) == bytes(literals) + pair + bytes(literals[:2])


def test_a_code_past_the_table_is_refused() -> None:
    with pytest.raises(DecodeError, match="code 259"):
        lzw.decompress(coded([256, 65, 259, 257]), LIMIT)


def test_the_first_code_after_a_clear_must_be_a_literal() -> None:
    with pytest.raises(DecodeError, match="code 258"):
        lzw.decompress(coded([65, 66, 256, 258, 257]), LIMIT)


@pytest.mark.parametrize("data", [b"", coded([256]), coded([256, 65, 66])])
def test_a_stream_without_its_end_code_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="end code"):
        lzw.decompress(data, LIMIT)


def test_bytes_after_the_end_code_are_ignored() -> None:
    assert lzw.decompress(lzw.compress(b"hello") + b"\xff" * 100, LIMIT) == b"hello"


def test_output_of_exactly_the_limit_is_read_and_one_byte_more_is_refused() -> None:
    compressed = lzw.compress(b"x" * 1000)
    assert len(lzw.decompress(compressed, 1000)) == 1000
    with pytest.raises(LimitError, match="999"):
        lzw.decompress(compressed, 999)


@pytest.mark.heavy
def test_a_bomb_is_stopped_at_the_limit_and_not_at_its_end() -> None:
    codes, code = [97], 258
    while code < 4096:
        codes.append(code)
        code += 1
    codes += [4095] * 100_000  # 384 MB, if anyone let it
    bomb = coded([*codes, 257])
    started = time.perf_counter()
    with pytest.raises(LimitError):
        lzw.decompress(bomb, 100_000)
    assert time.perf_counter() - started < 1


def test_a_stream_of_clears_costs_little_and_means_nothing() -> None:
    assert lzw.decompress(coded([256] * 50_000 + [257]), 0) == b""
