"""News of lost addresses, read from netlink datagrams."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.endpoint.address_changes import message_types

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
