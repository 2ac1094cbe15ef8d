"""The tunnel's MTU from the underlay's: what the outer headers take away must not be offered inside."""

from collections.abc import Iterable

WIREGUARD_BYTES = 32
"""Type, receiver, counter and authentication tag of a data message (WireGuard paper section 5.4.6)."""

OVERHEAD_BYTES = {4: 20 + 8 + WIREGUARD_BYTES, 6: 40 + 8 + WIREGUARD_BYTES}
"""IP, UDP and WireGuard headers by the underlay's IP version: 60 and 80."""

MINIMUM_BYTES = {4: 576, 6: 1280}
"""Least MTU inside the tunnel by the mesh's IP version (RFC 791; RFC 8200 section 5, below which IPv6 is
switched off).
"""

MAXIMUM_BYTES = 65535 - OVERHEAD_BYTES[6]
"""Most: an outer IP packet's length is 16 bit (loopback underlays offer 65536)."""

DEFAULT_BYTES = 1420
"""When no underlay route is known yet: Ethernet's 1500 less the larger overhead."""


def tunnel_mtu(underlays: Iterable[tuple[int, int]], *, mesh_version: int = 4) -> int:
    """The MTU for the interface: the least of the `underlays`, each less its overhead.

    An underlay is (route MTU in bytes, IP version 4 or 6), and takes 60 or 80 bytes. Never below what the
    mesh's IP version needs (`mesh_version` 6 also for a dual-stack mesh): on a thinner underlay the outer
    packets are fragmented instead. 1420 without any underlay.
    """
    inner = [mtu - OVERHEAD_BYTES[version] for mtu, version in underlays]
    return min(max(min(inner, default=DEFAULT_BYTES), MINIMUM_BYTES[mesh_version]), MAXIMUM_BYTES)
