"""STUN answers: translated for pystun3, judged, and never waited for too long."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.netns.lying_stun import BINDING_RESPONSE, LIES, attribute, mapped, message

from wgmesh_agent.mesh.discovery import stun
from wgmesh_agent.mesh.discovery.stun import (
    StunError,
    plain_answer,
    query_stun,
    validated_endpoint,
    with_cookie,
)
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.values import usable_address

REQUEST = bytes.fromhex("00010000") + bytes(range(16))
SENT = with_cookie(REQUEST)[4:20]
COOKIE = 0x2112A442
NO_ADDRESS = message(BINDING_RESPONSE, REQUEST[4:20])
ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
PORTS = st.integers(0, 65535)


def xor_mapped(address: IPv4Address, port: int) -> bytes:
    return attribute(0x0020, struct.pack("!BBHI", 0, 1, port ^ (COOKIE >> 16), int(address) ^ COOKIE))


def plain(address: IPv4Address, port: int) -> bytes:
    return message(BINDING_RESPONSE, REQUEST[4:20], mapped(str(address), port))


def test_a_request_carries_the_magic_cookie_where_rfc_5389_has_it() -> None:
    assert with_cookie(REQUEST) == bytes.fromhex("000100002112a442") + REQUEST[8:]


@given(ADDRESSES, PORTS)
def test_both_forms_of_the_address_come_out_as_the_plain_one(address: IPv4Address, port: int) -> None:
    for form in (mapped(str(address), port), xor_mapped(address, port)):
        assert plain_answer(message(BINDING_RESPONSE, SENT, form), REQUEST) == plain(address, port)


def test_the_masked_address_goes_before_the_plain_one_that_a_nat_may_have_rewritten() -> None:
    true = IPv4Address("198.51.100.7")
    answer = message(BINDING_RESPONSE, SENT, mapped("192.168.1.1"), xor_mapped(true, 54540))
    assert plain_answer(answer, REQUEST) == plain(true, 54540)


@given(st.lists(st.tuples(st.integers(0x8000, 0xFFFF), st.binary(max_size=40)), max_size=8))
def test_other_attributes_of_any_length_are_passed_over(others: list[tuple[int, bytes]]) -> None:
    padded = [attribute(kind, value) + b"\0" * (-len(value) % 4) for kind, value in others]
    true = IPv4Address("198.51.100.7")
    answer = message(BINDING_RESPONSE, SENT, *padded, xor_mapped(true, 9))
    assert plain_answer(answer, REQUEST) == plain(true, 9)


@given(st.binary(max_size=120))
def test_any_attributes_are_read_or_refused(body: bytes) -> None:
    header = struct.pack("!HH", BINDING_RESPONSE, len(body)) + SENT
    answer = plain_answer(header + body, REQUEST)
    assert answer is None or answer[:2] == b"\x01\x01"
    assert answer is None or len(answer) in (20, 32)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    answer = plain_answer(data, REQUEST)
    assert answer is None or answer == NO_ADDRESS


@pytest.mark.parametrize(
    "answer",
    [
        message(BINDING_RESPONSE, REQUEST[4:20], mapped("198.51.100.7")),
        message(0x0111, SENT, mapped("198.51.100.7")),
        message(BINDING_RESPONSE, SENT, mapped("198.51.100.7"))[:-1],
        message(BINDING_RESPONSE, SENT, mapped("198.51.100.7")) + b"\0",
    ],
    ids=["another's transaction", "an error", "cut off", "too long"],
)
def test_what_is_no_whole_answer_to_the_request_is_refused(answer: bytes) -> None:
    assert plain_answer(answer, REQUEST) is None


@given(ADDRESSES, PORTS)
def test_a_judged_answer_is_an_endpoint_that_somebody_could_reach(address: IPv4Address, port: int) -> None:
    try:
        endpoint = validated_endpoint("stun.example", str(address), port)
    except StunError:
        assert port == 0 or not usable_address(address)
    else:
        assert endpoint == Endpoint(address, port)


@pytest.mark.parametrize("address", ["256.1.1.1", "", "fd00::1", "0.0.0.0", "127.1.2.3", "239.0.0.1"])
def test_an_answer_where_nobody_can_be_is_refused(address: str) -> None:
    with pytest.raises(StunError, match=r"stun\.example"):
        validated_endpoint("stun.example", address, 54540)


@contextmanager
def server(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """A STUN server on the loopback that answers so to every transaction id; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                data, asker = sock.recvfrom(2048)
                if data == b"end":
                    return
                sock.sendto(answer(data[4:20]), asker)

        thread = threading.Thread(target=serve)
        thread.start()
        yield sock.getsockname()[1]
        sock.sendto(b"end", sock.getsockname())
        thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stun, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(stun, "TOTAL_SECONDS", 0.3)


async def test_what_the_server_saw_is_the_endpoint() -> None:
    with server(
        lambda transaction: message(BINDING_RESPONSE, transaction, mapped("198.51.100.7", 777))
    ) as port:
        assert await query_stun("127.0.0.1", port, 0) == Endpoint(IPv4Address("198.51.100.7"), 777)


async def test_from_another_port_than_wireguard_s_only_the_address_counts() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wireguard,
        server(
            lambda transaction: message(BINDING_RESPONSE, transaction, mapped("198.51.100.7", 777))
        ) as port,
    ):
        wireguard.bind(("", 0))
        taken = wireguard.getsockname()[1]
        assert await query_stun("127.0.0.1", port, taken) == Endpoint(IPv4Address("198.51.100.7"), taken)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("lie", [lie for lie in LIES if lie != "inside the mesh"])
async def test_a_lie_ends_in_an_error_that_names_the_server(lie: str) -> None:
    with server(LIES[lie]) as port:
        began = time.monotonic()
        with pytest.raises(StunError, match=r"the STUN server 127\.0\.0\.1"):
            await query_stun("127.0.0.1", port, 0)
        assert time.monotonic() - began < 5


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_keeps_silent_is_not_waited_for_long() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(StunError, match="no valid response"):
            await query_stun("127.0.0.1", silent.getsockname()[1], 0)


async def test_a_name_that_does_not_resolve_is_said() -> None:
    with pytest.raises(StunError, match=r"cannot query the STUN server no-such-host\.invalid"):
        await query_stun("no-such-host.invalid", 3478, 0)


async def test_a_name_that_no_resolver_can_be_asked_for_is_said() -> None:
    with pytest.raises(StunError, match=r"the STUN server a{64}\.example"):
        await query_stun("a" * 64 + ".example", 3478, 0)
