"""Repairs that other programs undo: at once, at most one a second, with backoff."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from wgmesh_agent.mesh.dataplane.repair_rate_limit import (
    BACKOFF,
    MANY,
    OFTEN,
    Repairs,
    changed_by_others,
)
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Device, Endpoint, Peer

DOWN = ("it was down",)
ONE, OTHER = (PrivateKey(bytes([number]) * 32).public() for number in (1, 2))
DEVICE = Device(
    "wglab", ONE, 51820, peers={OTHER: Peer(OTHER, allowed_ips=frozenset({ip_network("10.1.0.2/32")}))}
)


def test_the_first_repair_is_due_at_once_and_the_next_a_second_later() -> None:
    repairs = Repairs("wglab")
    assert repairs.due(100.0) == 0.0
    repairs.note(DOWN, 100.0)
    assert repairs.due(100.25) == 0.75


def test_the_pause_grows_while_somebody_undoes_the_same_and_is_short_again_for_another() -> None:
    repairs, now = Repairs("wglab"), 0.0
    for _ in range(OFTEN):
        repairs.note(DOWN, now)
        assert repairs.due(now) == 1.0
        now += 1
    for pause in (2.0, 4.0, 8.0):
        repairs.note(DOWN, now)
        assert repairs.due(now) == pause
        now += pause
    for _ in range(40):
        repairs.note(DOWN, now)
        now += repairs.due(now)
    assert repairs.due(now - BACKOFF.longest_seconds) == BACKOFF.longest_seconds
    repairs.note(("its MTU was 9000",), now)
    assert repairs.due(now) == 1.0


def test_what_is_undone_again_and_again_is_told_until_it_stays() -> None:
    repairs = Repairs("wglab")
    for second in range(MANY):
        assert repairs.undone(second) == ""
        repairs.note(DOWN, second)
    assert repairs.undone(MANY) == "it was down"
    assert repairs.undone(MANY + 100) == ""


def test_the_device_is_changed_by_another_key_port_or_peer_and_not_by_what_wireguard_does_itself() -> None:
    peer = DEVICE.peers[OTHER]
    roamed = replace(peer, endpoint=Endpoint.parse("192.0.2.1:5"), last_handshake=5.0, rx_bytes=7)
    assert changed_by_others(DEVICE, replace(DEVICE, peers={OTHER: roamed})) == []
    for other in (
        replace(DEVICE, public_key=OTHER),
        replace(DEVICE, public_key=None),
        replace(DEVICE, listen_port=1),
        replace(DEVICE, peers={}),
        replace(DEVICE, peers={OTHER: replace(peer, allowed_ips=frozenset())}),
        replace(DEVICE, peers={OTHER: peer, ONE: Peer(ONE)}),
    ):
        assert len(changed_by_others(DEVICE, other)) == 1
