"""`wgmesh_agent.wireguard.memory_backend` keeps the promises of `Backend`."""

import pytest
from tests.unit.wireguard.devices import ENDPOINTS, KEYS, NOW, OWN, OWN_PUBLIC

from wgmesh_agent.wireguard.backend import Backend
from wgmesh_agent.wireguard.diff import diff
from wgmesh_agent.wireguard.errors import InterfaceGoneError
from wgmesh_agent.wireguard.memory_backend import MemoryBackend
from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer, InterfaceSpec, Peer

SPEC = InterfaceSpec("wgtest", (), (), 1420)


async def test_it_is_made_adopted_and_destroyed() -> None:
    memory = MemoryBackend("wgtest", lambda: NOW)
    backend: Backend = memory
    with pytest.raises(InterfaceGoneError):
        await backend.read()
    assert not (await backend.open(SPEC)).adopted
    await backend.close()
    assert (await backend.open(SPEC)).adopted
    await backend.destroy()
    with pytest.raises(InterfaceGoneError):
        await backend.apply([])


async def test_what_is_applied_is_read_back() -> None:
    backend = MemoryBackend("wgtest", lambda: NOW)
    await backend.open(SPEC)
    desired = DesiredDevice(OWN, 51820, (DesiredPeer(KEYS[0], frozenset(), (ENDPOINTS[0],)),))
    changes = diff(desired, await backend.read(), now_unix=NOW, own_public=OWN_PUBLIC)
    await backend.apply(changes)
    device = await backend.read()
    assert diff(desired, device, now_unix=NOW, own_public=OWN_PUBLIC) == ()
    assert backend.changes == list(changes)
    backend.handshake(Peer(KEYS[0], ENDPOINTS[1], last_handshake=NOW))
    assert (await backend.read()).peers[KEYS[0]].endpoint == ENDPOINTS[1]
