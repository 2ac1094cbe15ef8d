"""`wgmesh_agent.wireguard.backends.genetlink` on this kernel's `nlctrl`, the family every kernel has."""

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.wireguard.backends.genetlink import Genetlink, _check, _split
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


def test_what_is_left_of_an_earlier_exchange_is_dropped() -> None:
    def message(sequence: int, body: bytes) -> bytes:
        return struct.pack("=IHHII", 16 + len(body), 20, 0, sequence, 0) + body

    assert list(_split(message(1, b"old!") + message(2, b"new!"), 2)) == [(20, 0, b"new!")]


@given(st.binary(max_size=120), st.integers(0, 3))
def test_any_bytes_are_messages_or_a_kernel_error(data: bytes, sequence: int) -> None:
    try:
        for _, flags, body in _split(data, sequence):
            _check(body, flags)
    except KernelError:
        return
