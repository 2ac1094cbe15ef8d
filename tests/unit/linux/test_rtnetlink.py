"""Routing netlink: what the kernel answers in a shape that nobody foresaw is an error of the back end."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from wgmesh_agent.linux import rtnetlink, wireguard_interface
from wgmesh_agent.runtime import borders
from wgmesh_agent.wireguard.errors import ForeignInterfaceError, KernelError


def answering(answer: Any) -> Any:
    """An rtnetlink socket whose every answer is this."""

    def answered(*_: object, **__: object) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return SimpleNamespace(link=answered, addr=answered, route=answered, rule=answered)


NO_ATTRIBUTES: Any = SimpleNamespace(get_attr=lambda _: None)


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [{}, {}],
        [None],
        [{"index": 1}],
        [NO_ATTRIBUTES],
        None,
        struct.error("odd"),
        RecursionError(),
        KeyError("x"),
    ],
    ids=["none", "two", "no message", "no attributes", "no kind", "no list", "struct", "recursion", "key"],
)
def test_an_odd_answer_is_an_error_of_the_kernel_and_is_counted(answer: Any) -> None:
    before = sum(borders.rejected().values())
    with (
        capture_logs(),
        pytest.raises(KernelError, match="looking for wg0: the kernel's answer was not understood"),
        rtnetlink.open_rtnetlink("looking for wg0"),
    ):
        wireguard_interface.find_interface(answering(answer), "wg0")
    assert sum(borders.rejected().values()) == before + 1


def test_an_error_of_the_back_end_stays_what_it_is() -> None:
    with pytest.raises(ForeignInterfaceError), rtnetlink.open_rtnetlink("a test"):
        raise ForeignInterfaceError("another's")
