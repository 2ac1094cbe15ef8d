from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import DecodeError, GossipError, PeerError
from wgmesh_agent.gossip.wire.schema import (
    BOOL,
    BYTES,
    BYTES_NOT_NIL,
    FLOAT,
    I64,
    TEXT,
    U8,
    U16,
    U32,
    U64,
    Field,
    Kind,
    Struct,
    text_map,
    tuple_of,
)


@dataclass(frozen=True, slots=True)
class Pair:
    second: int
    first: str


PAIR = Struct(Pair, Field("second", "Zeta", U8), Field("first", "Alpha", TEXT, omit_empty=True))


def wire(value: Any, *, use_bin_type: bool = False) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=use_bin_type)  # type: ignore[no-untyped-call]
    return packed


@pytest.mark.parametrize(("kind", "bits"), [(U8, 8), (U16, 16), (U32, 32), (U64, 64)])
def test_unsigned_fields_take_their_range_and_nothing_outside(kind: Kind[int], bits: int) -> None:
    assert kind.decode(2**bits - 1) == 2**bits - 1
    assert kind.encode(2**bits - 1) == 2**bits - 1
    for value in (-1, 2**bits):
        with pytest.raises(DecodeError, match=str(value)):
            kind.decode(value)
        with pytest.raises(GossipError, match=str(value)):
            kind.encode(value)


def test_a_signed_field_takes_its_range_and_nothing_outside() -> None:
    assert I64.decode(-(2**63)) == -(2**63)
    with pytest.raises(DecodeError):
        I64.decode(2**63)


@pytest.mark.parametrize("kind", [U8, U16, U32, U64, I64, BYTES, BYTES_NOT_NIL, TEXT, BOOL, FLOAT])
def test_nil_is_the_zero_value(kind: Kind[Any]) -> None:
    assert not kind.decode(None)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (U8, True),
        (U8, 1.0),
        (U8, b"1"),
        (BYTES, 5),
        (BYTES, [1, 256]),
        (BYTES, [True]),
        (TEXT, 5),
        (TEXT, [65]),
        (BOOL, 2),
        (BOOL, b"true"),
        (FLOAT, True),
        (FLOAT, b"1.0"),
        (tuple_of(U8), {}),
        (text_map(U8), []),
        (BYTES, object()),
    ],
)
def test_a_value_of_another_type_is_the_peers_error(kind: Kind[Any], value: Any) -> None:
    with pytest.raises(DecodeError):
        kind.decode(value)


def test_bytes_may_come_as_an_array_of_integers() -> None:
    assert BYTES.decode([1, 5, 2, 2, 5, 4]) == bytes((1, 5, 2, 2, 5, 4))


def test_floats_may_come_as_integers_and_bools_as_zero_or_one() -> None:
    assert FLOAT.decode(3) == 3.0
    assert BOOL.decode(1) is True
    assert BOOL.decode(0) is False


@given(st.binary(max_size=300))
def test_any_bytes_are_a_name_and_come_back(raw: bytes) -> None:
    assert TEXT.encode(TEXT.decode(raw)) == raw


def test_a_string_that_no_bytes_give_is_our_error() -> None:
    with pytest.raises(GossipError, match="UTF-8"):
        TEXT.encode("\ud800")


def test_empty_bytes_are_nil_unless_go_makes_them_non_nil() -> None:
    assert BYTES.encode(b"") is None
    assert BYTES_NOT_NIL.encode(b"") == b""
    assert tuple_of(U8).encode(()) == []
    assert tuple_of(U8, nil_if_empty=True).encode(()) is None


def test_keys_are_written_in_byte_order_and_empty_ones_left_out_on_request() -> None:
    assert PAIR.pack(Pair(1, "a")) == b"\x82\xa5Alpha\xa1a\xa4Zeta\x01"
    assert PAIR.pack(Pair(1, "")) == b"\x81\xa4Zeta\x01"


def test_strings_are_written_as_raw16_and_never_as_str8() -> None:
    assert PAIR.pack(Pair(0, "x" * 40)).startswith(b"\x82\xa5Alpha\xda\x00\x28")


def test_keys_are_read_in_any_order_with_unknown_ones_ignored_and_missing_ones_zero() -> None:
    assert PAIR.unpack(wire({"Zeta": 7, "Other": [1, {}], "Alpha": "b"})) == Pair(7, "b")
    assert PAIR.unpack(wire({"zeta": 7})) == Pair(0, "")
    assert PAIR.unpack(b"\xc0") == Pair(0, "")


def test_str8_bin_and_trailing_bytes_are_read() -> None:
    assert PAIR.unpack(wire({"Alpha": "x" * 40}, use_bin_type=True) + b"rest") == Pair(0, "x" * 40)
    assert PAIR.unpack(wire({b"Alpha": b"bin"}, use_bin_type=True)) == Pair(0, "bin")


@pytest.mark.parametrize("value", [[1, 2], 5, b"raw", 1.5, True])
def test_a_body_that_is_no_map_is_the_peers_error(value: Any) -> None:
    with pytest.raises(DecodeError, match="Pair wants a map"):
        PAIR.unpack(wire(value))


def test_an_error_names_the_struct_and_the_field() -> None:
    with pytest.raises(DecodeError, match=r"Pair\.Zeta wants an integer in 0\.\.255, got 256"):
        PAIR.unpack(wire({"Zeta": 256}))
    with pytest.raises(GossipError, match=r"Pair\.second: 256"):
        PAIR.pack(Pair(256, ""))


def test_a_layout_must_name_the_attributes_of_its_class() -> None:
    with pytest.raises(GossipError, match="Pair"):
        Struct(Pair, Field("first", "Alpha", TEXT), Field("second", "Zeta", U8))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner, max_size=4),
        max_leaves=12,
    )
)
def test_any_msgpack_value_decodes_or_is_the_peers_error(value: Any) -> None:
    kinds: tuple[Kind[Any], ...] = (
        U8,
        I64,
        BYTES,
        TEXT,
        BOOL,
        FLOAT,
        tuple_of(BYTES),
        text_map(FLOAT),
        PAIR.kind,
    )
    for kind in kinds:
        with suppress(PeerError):
            decoded = kind.decode(value)
            if not (isinstance(decoded, float) and math.isnan(decoded)):
                kind.encode(decoded)
