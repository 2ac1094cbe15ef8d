"""Routing netlink: a response of the kernel in an unforeseen form is an error of the back end."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from structlog.testing import capture_logs

from wgmesh_agent.linux import rtnetlink, wireguard_interface
from wgmesh_agent.runtime import borders
from wgmesh_agent.wireguard.errors import ForeignInterfaceError, KernelError


class Answering:
    """An rtnetlink socket whose every answer is this."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.addr = self.route = self.rule = self.link

    def link(self, *_: object, **__: object) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class NoAttributes:
    """A message without any."""

    def get_attr(self, name: str) -> None:
        """None."""


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [{}, {}],
        [None],
        [{"index": 1}],
        [NoAttributes()],
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
        pytest.raises(KernelError, match="looking for wg0: malformed response of the kernel"),
        rtnetlink.open_rtnetlink("looking for wg0"),
    ):
        wireguard_interface.find_interface(Answering(answer), "wg0")
    assert sum(borders.rejected().values()) == before + 1


def test_an_error_of_the_back_end_stays_what_it_is() -> None:
    with pytest.raises(ForeignInterfaceError), rtnetlink.open_rtnetlink("a test"):
        raise ForeignInterfaceError("another's")
