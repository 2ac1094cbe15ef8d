"""Readers of values in custom resources are total, and what they read can be used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_api import fields

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
OFFSETS = st.builds("{}{:02}:{:02}".format, st.sampled_from("+-"), st.integers(0, 23), st.integers(0, 59))
MOMENTS = st.builds(
    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}".format,
    st.integers(0, 9999),
    st.integers(1, 12),
    st.integers(1, 31),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 60),
    OFFSETS | st.just("Z"),
)
ADDRESSES = st.ip_addresses().map(str) | st.builds("{}%{}".format, st.ip_addresses(v=6), st.text(max_size=4))


@given(MOMENTS | JSON)
def test_a_moment_that_is_read_can_be_converted_added_to_and_written(text: object) -> None:
    moment = fields.read_time(text)
    if moment is not None:
        assert datetime(1970, 1, 1, tzinfo=UTC) <= moment
        assert moment + timedelta(days=36500) > moment
        assert fields.read_time(fields.write_time(moment)) == moment.replace(microsecond=0)


@given(ADDRESSES | JSON)
def test_an_address_that_is_read_has_no_zone_and_is_a_machines(text: object) -> None:
    address = fields.read_address(text)
    if address is not None:
        assert "%" not in str(address)
        assert not address.is_loopback
        assert not address.is_multicast
        assert not address.is_unspecified


@given(st.builds("{}/{}".format, ADDRESSES, st.integers(-1, 129)) | JSON)
def test_a_network_that_is_read_has_no_zone(text: object) -> None:
    network = fields.read_network(text)
    assert network is None or "%" not in str(network)


@given(st.text("0123456789.hms²٣ e+-inf", max_size=400))
def test_a_duration_that_is_read_is_a_bounded_number(text: str) -> None:
    try:
        seconds = fields.read_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= fields.MAX_DURATION_SECONDS
    assert datetime(2100, 1, 1) + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("value", "read"), [(2**63 - 1, 2**63 - 1), (2**63, None), (True, None), (1.0, None)]
)
def test_an_integer_fits_64_bits(value: object, read: int | None) -> None:
    assert fields.read_int({"x": value}, "x") == read
