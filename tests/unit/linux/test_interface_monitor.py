"""The kernel's notifications about the mesh's interface, among all of this machine."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.linux.interface_monitor import NEWS, InterfaceNews
from wgmesh_agent.linux.policy_rules import routing_table_of

NEWLINK, DELLINK, NEWADDR, DELADDR, NEWROUTE, DELROUTE, NEWRULE, DELRULE = 16, 17, 20, 21, 24, 25, 32, 33
OURS, OTHER = 7, 8


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def link(kind: int, index: int, name: str) -> bytes:
    return message(kind, struct.pack("=BxHiII", 0, 0, index, 0, 0) + attribute(3, name.encode() + b"\0"))


def address(kind: int, index: int) -> bytes:
    return message(kind, struct.pack("=4BI", 2, 32, 0, 0, index))


def route(kind: int, index: int, table: int) -> bytes:
    return message(
        kind, bytes(12) + attribute(15, struct.pack("=I", table)) + attribute(4, struct.pack("=I", index))
    )


def rule(kind: int, protocol: int) -> bytes:
    return message(kind, bytes(12) + attribute(21, bytes([protocol])))


def concerns(*messages: bytes) -> bool:
    return InterfaceNews("wglab", OURS).concerns(b"".join(messages))


def test_news_of_the_interface_its_addresses_and_routes_are_of_concern() -> None:
    for told in (
        link(NEWLINK, OURS, "wglab"),
        link(NEWLINK, OURS, "renamed"),
        link(DELLINK, OURS, "wglab"),
        address(NEWADDR, OURS),
        address(DELADDR, OURS),
        route(DELROUTE, OURS, 254),
        route(DELROUTE, OTHER, routing_table_of("wglab")),
    ):
        assert concerns(told)


def test_news_of_others_and_routes_that_come_are_not() -> None:
    for told in (
        link(NEWLINK, OTHER, "eth0"),
        address(DELADDR, OTHER),
        route(DELROUTE, OTHER, 254),
        route(NEWROUTE, OURS, 254),
        rule(NEWRULE, 87),
    ):
        assert not concerns(told)


def test_any_rule_of_others_is_of_concern_since_it_may_stand_where_ours_do() -> None:
    assert concerns(rule(NEWRULE, 4))
    assert concerns(rule(DELRULE, 87))


def test_an_interface_that_comes_anew_is_known_by_its_new_index() -> None:
    news = InterfaceNews("wglab", OURS)
    assert news.concerns(link(NEWLINK, 9, "wglab") + address(DELADDR, OTHER))
    assert news.concerns(address(DELADDR, 9))
    assert not news.concerns(address(DELADDR, OURS))


@given(st.binary(max_size=200), st.sampled_from((NEWLINK, DELADDR, DELROUTE, NEWRULE, DELRULE, 99)))
def test_whatever_the_kernel_tells_costs_one_datagram_at_most(body: bytes, kind: int) -> None:
    news = InterfaceNews("wglab", OURS)
    with NEWS.fence("a test"):
        news.concerns(message(kind, body))
    assert news.concerns(link(NEWLINK, OURS, "wglab"))
