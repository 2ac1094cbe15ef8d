"""`wgmesh_agent.linux.genetlink` on this kernel's `nlctrl`, the family every kernel has."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.linux.genetlink import Genetlink, _check, _split
from wgmesh_agent.wireguard.errors import BackEndUnavailableError, KernelError
from wgmesh_agent.wireguard.genl import HEADER, attribute, attributes

GET_FAMILY = HEADER.pack(3, 1, 0)


@pytest.fixture
def control() -> Iterator[Genetlink]:
    netlink = Genetlink("nlctrl")
    yield netlink
    netlink.close()


def test_a_dump_answers_with_all_families(control: Genetlink) -> None:
    names = {dict(attributes(one, HEADER.size))[2] for one in control.dump(GET_FAMILY)}
    assert b"nlctrl\0" in names


def test_a_refusal_names_the_reason_and_chains_it(control: Genetlink) -> None:
    with pytest.raises(KernelError, match="No such file or directory") as caught:
        control.request(GET_FAMILY + attribute(2, b"nosuchfamily\0"))
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    # The socket is as good as before.
    control.request(GET_FAMILY + attribute(2, b"nlctrl\0"))


def test_a_refusal_carries_the_kernels_own_words(control: Genetlink) -> None:
    with pytest.raises(KernelError, match=r"\(.+\)"):
        control.request(GET_FAMILY + attribute(2, b"x" * 100 + b"\0"))


def test_a_family_the_kernel_lacks_is_unavailable() -> None:
    with pytest.raises(BackEndUnavailableError, match="the kernel has no nosuch"):
        Genetlink("nosuch")


def message(kind: int, sequence: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


ERROR, DONE, FAMILY = 2, 3, 40
MULTI, INTERRUPTED = 2, 0x10
ZERO = bytes(4)


@contextmanager
def scripted(*datagrams: bytes) -> Iterator[Genetlink]:
    """A socket whose other end has answered all that will be asked; the first request (1) is for the family."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    family = message(16, 1, bytes(4) + attribute(1, struct.pack("=H", FAMILY)))
    with theirs:
        for datagram in (family, message(ERROR, 1, ZERO + bytes(16)), *datagrams):
            theirs.send(datagram)
        theirs.shutdown(socket.SHUT_WR)
        netlink = Genetlink("scripted", lambda: ours)
        yield netlink
        netlink.close()


def test_a_dump_is_all_its_messages_up_to_done() -> None:
    answers = message(FAMILY, 2, b"one.") + message(FAMILY, 2, b"two."), message(FAMILY, 2, b"3...")
    with scripted(*answers, message(DONE, 2, ZERO)) as netlink:
        assert netlink.dump(b"") == [b"one.", b"two.", b"3..."]


def test_a_dump_under_which_things_changed_is_asked_for_anew() -> None:
    first = message(FAMILY, 2, b"old.", MULTI), message(DONE, 2, ZERO, INTERRUPTED)
    second = message(FAMILY, 3, b"new.", MULTI), message(DONE, 3, ZERO)
    with scripted(*first, *second) as netlink:
        assert netlink.dump(b"") == [b"new."]


def test_a_dump_that_never_holds_still_is_an_error() -> None:
    answers = [message(DONE, 2 + number, ZERO, INTERRUPTED) for number in range(8)]
    with scripted(*answers) as netlink, pytest.raises(KernelError, match="changed while it was read"):
        netlink.dump(b"")


def test_an_error_at_the_end_of_a_dump_is_one() -> None:
    with scripted(message(DONE, 2, struct.pack("=i", -19))) as netlink:
        with pytest.raises(KernelError, match="No such device") as caught:
            netlink.dump(b"")
        assert isinstance(caught.value.__cause__, OSError)


def test_what_is_left_of_an_earlier_exchange_is_dropped() -> None:
    answers = message(FAMILY, 1, b"old!") + message(FAMILY, 2, b"new!"), message(DONE, 2, ZERO)
    with scripted(*answers) as netlink:
        assert netlink.dump(b"") == [b"new!"]


def test_a_kernel_that_says_nothing_more_is_an_error() -> None:
    with scripted() as netlink, pytest.raises(KernelError, match="no bytes"):
        netlink.dump(b"")


@given(st.binary(max_size=120), st.integers(0, 3))
def test_any_bytes_are_messages_or_a_kernel_error(data: bytes, sequence: int) -> None:
    try:
        for _, flags, body in _split(data, sequence):
            _check(body, flags)
    except KernelError:
        return
