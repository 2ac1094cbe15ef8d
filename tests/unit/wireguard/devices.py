"""Devices, wishes and changes for property tests, from pools small enough that they meet."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from wgmesh_agent.wireguard.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer, Device, Endpoint, Network, Peer

NOW = 1_760_000_000.0
OWN = PrivateKey(bytes([8]) + bytes(30) + bytes([64]))
OWN_PUBLIC = OWN.public()
OTHER = PrivateKey(bytes([16]) + bytes(30) + bytes([65]))
KEYS = [*(PublicKey(bytes([number]) * 32) for number in range(1, 7)), OWN_PUBLIC, OTHER.public()]
RANGES: list[Network] = [
    *(ip_network(f"10.232.1.{number}/32") for number in range(8)),
    ip_network("10.232.8.0/24"),
    *(ip_network(f"fd32::{number}/128") for number in range(4)),
    ip_network("fd32:8::/64"),
]
ENDPOINTS = [
    Endpoint(ip_address(one), 51820) for one in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "fe80::1%3")
]

PRESHARED = [NO_PRESHARED_KEY, PresharedKey(b"\x05" * 32), PresharedKey(b"\x06" * 32)]
keys = st.sampled_from(KEYS)
ranges = st.frozensets(st.sampled_from(RANGES), max_size=5)
endpoints = st.sampled_from(ENDPOINTS)
# Around the ages that matter, and never.
times = st.sampled_from([0.0, NOW - 1000, NOW - 180, NOW - 179, NOW - 30, NOW - 29.25, NOW, NOW + 5])


@st.composite
def _disjoint(draw: st.DrawFn, forbidden: frozenset[PublicKey]) -> dict[PublicKey, frozenset[Network]]:
    """Some keys with ranges, none of which stands twice."""
    chosen = draw(st.lists(keys.filter(lambda key: key not in forbidden), unique=True, max_size=6))
    free = draw(st.permutations(RANGES))
    result = {}
    for key in chosen:
        count = draw(st.integers(0, 4))
        result[key], free = frozenset(free[:count]), free[count:]
    return result


@st.composite
def devices(draw: st.DrawFn) -> Device:
    """What a kernel may hold: never a peer with its own key."""
    public = draw(st.sampled_from([None, OWN_PUBLIC, OTHER.public()]))
    held = draw(_disjoint(frozenset({public}) if public else frozenset()))
    peers = {
        key: Peer(
            key,
            draw(st.none() | endpoints),
            held[key],
            draw(st.sampled_from([0, 25])),
            draw(times),
            draw(st.integers(0, 2**64 - 1)),
            draw(st.integers(0, 2**64 - 1)),
            draw(st.sampled_from(PRESHARED)),
            draw(times),
        )
        for key in held
    }
    return Device(
        "wgtest", public, draw(st.sampled_from([0, 51820, 51821])), draw(st.sampled_from([0, 7])), peers
    )


def by_itself(device: Device) -> Device:
    """The device after what WireGuard changes of its own accord, its peers in another order."""
    return replace(
        device,
        peers={
            key: replace(
                peer,
                endpoint=ENDPOINTS[0],
                last_handshake=peer.last_handshake + 1,
                rx_bytes=peer.rx_bytes ^ 1,
                tx_bytes=peer.tx_bytes ^ 1,
            )
            for key, peer in reversed(list(device.peers.items()))
        },
    )


@st.composite
def wishes(draw: st.DrawFn) -> DesiredDevice:
    wanted = draw(_disjoint(frozenset()))
    peers = tuple(
        DesiredPeer(
            key,
            wanted[key],
            tuple(draw(st.lists(endpoints, unique=True, max_size=3))),
            draw(st.sampled_from([None, 0, 25])),
            preshared_key=draw(st.sampled_from([None, *PRESHARED])),
        )
        for key in wanted
    )
    return DesiredDevice(OWN, draw(st.sampled_from([0, 51820, 51821])), peers)
