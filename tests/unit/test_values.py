"""Values of others: each parser returns what every consumer can use, or rejects; nothing else is raised."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.odd_values import fuzzed

from wgmesh_api.fields import write_time
from wgmesh_api.values import (
    UnusableValue,
    bounded,
    embedded_ipv4,
    parse_address,
    parse_host_port,
    parse_moment,
    parse_network,
    parse_node_name,
    parse_port,
    parse_unix_time,
    usable_address,
)

OFFSETS = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.text()),
    st.from_regex(r"[0-9a-f:.]{1,45}(%.{0,40})?(/[0-9]{1,3})?", fullmatch=True),
    st.ip_addresses().map(str),
    st.datetimes(min_value=datetime(1, 1, 1), timezones=OFFSETS).map(datetime.isoformat),
)
PARSERS: list[Callable[[object], object]] = [
    parse_address,
    parse_port,
    parse_network,
    parse_moment,
    parse_unix_time,
    parse_node_name,
    lambda value: bounded(value, -1e3, 1e3),
    lambda value: parse_host_port(value, value),
]


@pytest.mark.heavy
@fuzzed
@given(ANYTHING, st.sampled_from(PARSERS))
def test_a_parser_answers_or_rejects(value: object, parse: Callable[[object], object]) -> None:
    try:
        parse(value)
        said = ""
    except UnusableValue as error:
        said = str(error)
    assert len(said) < 200
    assert not said or said.isprintable()


@fuzzed
@given(st.ip_addresses())
def test_every_address_that_is_accepted_can_be_packed_written_and_sent_to(
    address: IPv4Address | IPv6Address,
) -> None:
    try:
        parsed = parse_address(str(address))
    except UnusableValue:
        return
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    assert socket.inet_pton(family, str(parsed)) == parsed.packed
    assert ip_address(json.loads(json.dumps(str(parsed)))) == parsed
    assert parse_address(str(parsed)) == parsed
    assert usable_address(parsed)


@pytest.mark.parametrize("text", ["\u0100" * 40, "\U0001f600" * 40, "x" * 40, "'\"" * 20])
def test_what_is_rejected_is_quoted_in_at_most_forty_characters(text: str) -> None:
    with pytest.raises(UnusableValue) as told:
        parse_address(text)
    assert len(str(told.value).removesuffix(" is not an IP address")) <= 42


@pytest.mark.parametrize(
    "text",
    [
        "2001:db8::9%eth0",
        "2001:db8::9%1\nremove=true",
        "fe80::1",
        "0.0.0.0",
        "0.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "127.0.0.1",
        "::1",
        "::",
        "224.0.0.1",
        "ff02::1",
        "169.254.1.1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::e000:1",
        "2002:7f00:1::1",
        "::10.0.0.1",
        "1.2.3.4 ",
        "1.2.3",
        "",
        "x" * 1000,
    ],
)
def test_an_address_that_no_peer_can_be_reached_at_is_rejected(text: str) -> None:
    with pytest.raises(UnusableValue):
        parse_address(text)


def test_an_address_in_other_clothes_is_the_address() -> None:
    assert parse_address("::ffff:10.232.0.5") == ip_address("10.232.0.5")
    for text in (
        "64:ff9b::10.232.0.5",
        "64:ff9b:1::ae8:5",
        "2002:ae8:5::1",
        "2001:0:c000:201:0:1234:f517:fffa",
        "2001:db8::5efe:10.232.0.5",
        "2001:db8::200:5efe:10.232.0.5",
    ):
        assert embedded_ipv4(ip_address(text)) == ip_address("10.232.0.5")
    assert embedded_ipv4(ip_address("2001:db8::1")) is None
    assert str(parse_address("64:ff9b::192.0.2.5")) == "64:ff9b::c000:205", "what a NAT64 host sends to stays"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "fd00::%1/64", "10.0.0.0/33", "10.0.0.0/-1", "a/8", ""])
def test_a_network_with_host_bits_or_a_zone_is_rejected(text: str) -> None:
    with pytest.raises(UnusableValue):
        parse_network(text)


def test_host_bits_are_cut_where_asked() -> None:
    assert parse_network("10.1.2.3/8", cut_host_bits=True) == ip_network("10.0.0.0/8")


@fuzzed
@given(st.datetimes(timezones=OFFSETS))
def test_every_moment_that_is_accepted_can_be_converted_and_written(moment: datetime) -> None:
    try:
        parsed = parse_moment(moment.isoformat())
    except UnusableValue:
        return
    assert parsed.tzinfo is UTC
    assert parse_moment(write_time(parsed)) == parsed.replace(microsecond=0)


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "1969-12-31T23:59:59Z",
        "9000-01-01T00:00:00Z",
    ],
)
def test_a_moment_that_cannot_be_one_of_a_mesh_is_rejected(text: str) -> None:
    with pytest.raises(UnusableValue):
        parse_moment(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e200, 10**400, True, "1"])
def test_a_number_that_is_not_finite_and_within_bounds_is_rejected(value: object) -> None:
    with pytest.raises(UnusableValue):
        bounded(value, -60.0, 60.0)


@pytest.mark.parametrize("value", [0, 65536, -1, True, "0", "65536", "+1", "1_0", "١", 1.0, None])
def test_a_port_is_1_to_65535(value: object) -> None:
    with pytest.raises(UnusableValue):
        parse_port(value)
