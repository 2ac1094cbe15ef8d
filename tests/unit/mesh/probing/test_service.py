"""Probes through the tunnel: one that cannot be handled costs itself."""

from __future__ import annotations

from ipaddress import ip_address

from structlog.testing import capture_logs

from wgmesh_agent.mesh.probing.service import ProbeService
from wgmesh_agent.runtime import borders
from wgmesh_agent.runtime.change_signal import Signal


class UnforeseenError(Exception):
    """An exception that no module of the agent names."""


class Odd(ProbeService):
    """One that cannot handle the first datagram."""

    handled = 0

    def _received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.handled += 1
        if self.handled == 1:
            raise UnforeseenError("odd")
        super()._received(data, addr)


async def test_a_probe_that_raises_anything_is_counted_and_the_next_one_is_handled() -> None:
    prober = Odd(
        ip_address("127.0.0.1"), 0, 1440, dict, Signal(), device=lambda: None,
        endpoint=lambda _device, _address: None, paths_changed=lambda: None,
    )  # fmt: skip
    before = borders.rejected().get(("probe", "UnforeseenError"), 0)
    with capture_logs():
        for payload in (b"first", b"second"):
            prober.datagram_received(payload, ("10.232.0.66", 7947))
    assert prober.handled == 2
    assert borders.rejected()[("probe", "UnforeseenError")] == before + 1
