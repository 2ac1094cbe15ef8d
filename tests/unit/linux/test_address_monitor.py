"""News of addresses, links and routes, read from netlink datagrams."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.linux.address_monitor import HostChange, change_in, message_types

HEADER = struct.Struct("=IHHII")


def netlink(kind: int, body: bytes) -> bytes:
    message = HEADER.pack(HEADER.size + len(body), kind, 0, 0, 0) + body
    return message + b"\0" * (-len(message) % 4)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=30)), max_size=10))
def test_the_type_of_every_message_is_read(messages: list[tuple[int, bytes]]) -> None:
    datagram = b"".join(netlink(kind, body) for kind, body in messages)
    assert list(message_types(datagram)) == [kind for kind, _ in messages]


@given(st.binary(max_size=200))
def test_any_bytes_end(data: bytes) -> None:
    assert len(list(message_types(data))) <= len(data) / HEADER.size


def route(table: int = 254, kind: int = 1) -> bytes:
    return struct.pack("=8BI", 2, 0, 0, 0, table, 3, 0, kind, 0)


@pytest.mark.parametrize(
    ("messages", "change"),
    [
        ([(20, b"")], HostChange(addresses=True)),
        ([(20, b""), (21, b"")], HostChange(addresses=True, lost_address=True)),
        ([(16, b"")], HostChange(links=True)),
        ([(24, route())], HostChange(routes=True)),
        ([(25, route()), (24, b"short")], HostChange(routes=True)),
    ],
)
def test_what_came_or_went_is_told(messages: list[tuple[int, bytes]], change: HostChange) -> None:
    assert change_in(b"".join(netlink(kind, body) for kind, body in messages)) == change


@pytest.mark.parametrize(
    "body", [route(table=255), route(table=87), route(kind=5)], ids=["local", "ours", "multicast"]
)
def test_routes_that_lead_nowhere_new_are_no_news(body: bytes) -> None:
    assert not change_in(netlink(24, body))


@given(st.binary(max_size=200))
def test_any_bytes_are_some_change_or_none(data: bytes) -> None:
    assert isinstance(change_in(data), HostChange)
