"""Names looked up: an answer, no such name, and a name server that is not there are three things."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from wgmesh_agent.linux import name_resolution
from wgmesh_agent.linux.name_resolution import MOST_UNDER_WAY, NameServiceAway, addresses_of, resolve


class Resolver:
    """Stands for the resolver's library; hangs until `release`."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.hanging = 0
        self._released = threading.Event()

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        if self.hanging:
            self.hanging -= 1
            self._released.wait(30)
        answer = self.answers[host]
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port))]

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    found = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", found.getaddrinfo)
    monkeypatch.setattr(name_resolution, "WAIT_SECONDS", 0.05)
    yield found
    found.release()


async def test_an_address_needs_no_name_server(resolver: Resolver) -> None:
    assert await addresses_of("192.0.2.1", 5000) == [ip_address("192.0.2.1")]
    assert await addresses_of("2001:db8::1", 5000) == [ip_address("2001:db8::1")]


async def test_no_such_name_is_told_from_no_name_server(resolver: Resolver) -> None:
    resolver.answers = {
        "none.example": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        "later.example": socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        "odd": UnicodeError("label too long"),
    }
    assert await addresses_of("none.example", 1) == []
    assert await addresses_of("odd", 1) == []
    assert await resolve("later.example", 1) == []
    with pytest.raises(NameServiceAway):
        await addresses_of("later.example", 1)


async def test_a_look_up_that_hangs_does_not_hide_that_the_network_came(resolver: Resolver) -> None:
    resolver.answers, resolver.hanging = {"boot.example": "192.0.2.7"}, 1
    with pytest.raises(NameServiceAway):
        await addresses_of("boot.example", 1)
    assert await addresses_of("boot.example", 1) == [ip_address("192.0.2.7")]


async def test_a_slow_server_s_answer_counts_when_it_comes(resolver: Resolver) -> None:
    resolver.answers, resolver.hanging = {"slow.example": "192.0.2.8"}, MOST_UNDER_WAY
    for _ in range(MOST_UNDER_WAY + 1):
        with pytest.raises(NameServiceAway):
            await addresses_of("slow.example", 1)
    assert resolver.hanging == 0
    resolver.release()
    assert await addresses_of("slow.example", 1) == [ip_address("192.0.2.8")]
