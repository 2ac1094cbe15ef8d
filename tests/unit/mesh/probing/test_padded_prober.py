"""Which peers packets of a size pass to, by what comes back."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wgmesh_agent.mesh.probing import padded_prober as module
from wgmesh_agent.mesh.probing.padded_probe import SMALL_BYTES, encode_reply
from wgmesh_agent.mesh.probing.padded_prober import MAX_ATTEMPTS, PaddedProber
from wgmesh_agent.wireguard.model import IPAddress

A, B = ip_address("10.232.0.1"), ip_address("fd00::2")


class Path:
    """To peers that answer all packets up to `limit` bytes, from the attempt `answers_at` on."""

    def __init__(self, limit: int, answers_at: int = 1) -> None:
        self.limit, self.answers_at = limit, answers_at
        self.sent: list[tuple[IPAddress, int]] = []
        self.named = True
        self.prober = PaddedProber(self.send)

    def send(self, address: IPAddress, payload: bytes) -> None:
        size = len(payload) + {4: 28, 6: 48}[address.version]
        self.sent.append((address, size))
        answer = encode_reply(payload, address.version)
        assert answer is not None
        if size <= self.limit and self.sent.count((address, size)) >= self.answers_at:
            self.prober.received(address if self.named else ip_address("10.232.9.9"), answer)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)


async def test_what_comes_back_has_passed_and_is_not_sent_again() -> None:
    path = Path(limit=1300)
    wanted = [(A, SMALL_BYTES), (A, 1420), (B, 1300)]
    assert await path.prober.reachable_with_size(wanted) == {(A, SMALL_BYTES), (B, 1300)}
    assert [path.sent.count(pair) for pair in wanted] == [1, MAX_ATTEMPTS, 1]


async def test_all_that_pass_at_once_are_asked_once() -> None:
    path = Path(limit=1500)
    assert await path.prober.reachable_with_size([(A, 1420), (B, 1420)]) == {(A, 1420), (B, 1420)}
    assert len(path.sent) == 2


async def test_one_that_is_lost_is_tried_again() -> None:
    path = Path(limit=1500, answers_at=MAX_ATTEMPTS)
    assert await path.prober.reachable_with_size([(A, 1420)]) == {(A, 1420)}


async def test_an_answer_from_elsewhere_is_none() -> None:
    path = Path(limit=1500)
    path.named = False
    assert await path.prober.reachable_with_size([(A, 1420)]) == set()


async def test_what_is_no_answer_or_comes_too_late_is_ignored() -> None:
    path = Path(limit=0)
    await path.prober.reachable_with_size([(A, 1420)])
    path.prober.received(A, b"anything")
    path.prober.received(A, b"")
    assert await path.prober.reachable_with_size([]) == set()
