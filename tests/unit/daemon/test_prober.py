"""Probes through the tunnel: one that cannot be handled costs itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TypeVar

from structlog.testing import capture_logs

from wgmesh_agent.daemon.changes import Changes
from wgmesh_agent.daemon.prober import Prober
from wgmesh_agent.membership.binding import IPAddress
from wgmesh_agent.runtime import borders

NOBODY: Mapping[IPAddress, str] = {}
P = TypeVar("P", bound=Prober)


def made(kind: type[P], peers: Mapping[IPAddress, str] = NOBODY) -> P:
    """A prober of these peers, without a device."""
    return kind(
        ip_address("127.0.0.1"), 0, 1440, lambda: peers, Changes(), device=lambda: None,
        endpoint=lambda _device, _address: None, paths_changed=lambda: None,
    )  # fmt: skip


class UnforeseenError(Exception):
    """An exception that no module of the agent names."""


class Odd(Prober):
    """One that cannot handle the first datagram."""

    handled = 0

    def _received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.handled += 1
        if self.handled == 1:
            raise UnforeseenError("odd")
        super()._received(data, addr)


async def test_a_probe_that_raises_anything_is_counted_and_the_next_one_is_handled() -> None:
    prober = made(Odd)
    before = borders.rejected().get(("probe", "UnforeseenError"), 0)
    with capture_logs():
        for payload in (b"first", b"second"):
            prober.datagram_received(payload, ("10.232.0.66", 7947))
    assert prober.handled == 2
    assert borders.rejected()[("probe", "UnforeseenError")] == before + 1


async def test_who_leaves_tells_its_peers_at_once_without_waiting_for_its_own_next_probes() -> None:
    sent: list[IPAddress] = []

    class Noted(Prober):
        def _send(self, address: IPAddress, payload: bytes) -> None:
            sent.append(address)

    peers: dict[IPAddress, str] = {ip_address(f"10.232.0.{number}"): f"n{number}" for number in (2, 3)}
    prober = made(Noted, peers)
    work = asyncio.create_task(prober.run())
    async with asyncio.timeout(10):
        while len(sent) < len(peers):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    sent.clear()
    prober.leave()
    assert sorted(sent) == sorted(peers)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
