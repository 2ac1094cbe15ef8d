"""An adopted interface: peers that the last snapshot missed keep their tunnel until gossip had time to announce
them.
"""

from __future__ import annotations

import threading
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from tests.unit.device import FixedPlan, device_cache
from tests.unit.local import LocalClaim, Tunnels
from tests.unit.machine import PlayedMachine

from wgmesh_agent.mesh.dataplane import reconciler
from wgmesh_agent.mesh.dataplane.reconciler import Reconciler
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.wireguard.diff import Change, SetPeer, diff
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.memory_backend import MemoryBackend
from wgmesh_agent.wireguard.model import InterfaceSpec

KEY = PrivateKey.generate(lambda count: bytes(range(count)))
SPEC = InterfaceSpec("wgtest", (ip_interface("10.232.1.1"),), (ip_network("10.232.0.0/16"),), 1420)
MISSED, KNOWN, NEW = (PublicKey(bytes([number]) * 32) for number in (7, 8, 9))


async def adopted() -> tuple[Reconciler, Ledger]:
    backend = MemoryBackend("wgtest", lambda: 0.0)
    await backend.open(SPEC)
    address = frozenset({ip_network("10.232.0.7/32")})
    await backend.apply([SetPeer(MISSED, add_allowed_ips=address, create=True)])
    ledger = Ledger(
        LocalClaim("me", KEY.public(), (ip_address("10.232.1.1"),), (ip_network("10.232.0.0/16"),))
    )
    ledger.accept(Claim("known", KNOWN, (ip_address("10.232.0.8"),), ()), Origin.GOSSIP, 0.0)
    return Reconciler(
        backend,
        device_cache(backend),
        Tunnels(KEY),
        ledger,
        FixedPlan(SPEC),
        SystemClock(),
        PlayedMachine().trigger,
    ), ledger


async def test_a_peer_found_there_is_kept_at_first() -> None:
    found, _ = await adopted()
    assert (await found.reconcile()).peers.keys() == {MISSED, KNOWN}


async def test_a_peer_that_gossip_never_tells_of_goes_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "DEFER_REMOVALS_SECONDS", -1.0)
    found, _ = await adopted()
    assert (await found.reconcile()).peers.keys() == {KNOWN}


async def test_a_member_that_leaves_goes_at_once() -> None:
    found, ledger = await adopted()
    await found.reconcile()
    ledger.remove(KNOWN)
    assert (await found.reconcile()).peers.keys() == {MISSED}


async def test_the_difference_is_made_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = await adopted()
    threads = []

    def counted(*arguments: Any, **named: Any) -> tuple[Change, ...]:
        threads.append(threading.get_ident())
        return diff(*arguments, **named)

    monkeypatch.setattr(reconciler, "diff", counted)
    await found.reconcile()
    assert threads
    assert threading.get_ident() not in threads


async def test_the_former_key_of_a_member_goes_at_once() -> None:
    found, ledger = await adopted()
    ledger.accept(Claim("anew", NEW, (ip_address("10.232.0.7"),), ()), Origin.PEERS, 0.0)
    assert (await found.reconcile()).peers.keys() == {NEW, KNOWN}
