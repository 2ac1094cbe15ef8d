"""nftables ruleset that clamps the TCP MSS of traffic routed through this machine to what the mesh carries.

Hosts unaware of the tunnel negotiate segments for the MTU of their own links. The ICMP messages that report a lower
path MTU are often filtered, so the value is corrected in the handshake itself (RFC 4459 section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterable

from wgmesh_agent.wireguard.model import Route, check_interface_name
from wgmesh_agent.wireguard.mtu import SEGMENT_HEADERS_BYTES

_SYN = "tcp flags & (syn | rst) == syn tcp option maxseg size set"
_FAMILY = {4: "ip", 6: "ip6"}


def table_name(interface: str) -> str:
    """The table's name, in family `inet`."""
    check_interface_name(interface)
    return f"wgmesh-{interface}"


def removal_ruleset(interface: str) -> str:
    """The `nft` input that removes the table, whether or not it exists."""
    name = table_name(interface)
    return f"table inet {name}\ndelete table inet {name}\n"


def ruleset(interface: str, mtu: int, paths: Iterable[Route] = ()) -> str:
    """The `nft` input that replaces the table, in one transaction.

    Outbound handshakes are limited to the MTU of their route. Inbound ones request segments that return through the
    tunnel, so they are limited to its path MTU: that of `paths` if lower than `mtu`, the interface's.
    """
    narrow = [
        f'iifname "{interface}" {_FAMILY[path.destination.version]} saddr {path.destination} {_SYN} {_mss(path)}'
        for path in paths
        if path.mtu is not None
    ]
    wide = [
        f'iifname "{interface}" meta nfproto ipv{version} {_SYN} {mtu - headers}'
        for version, headers in SEGMENT_HEADERS_BYTES.items()
    ]
    rules = "".join(f"    {rule}\n" for rule in (f'oifname "{interface}" {_SYN} rt mtu', *narrow, *wide))
    return (
        f"{removal_ruleset(interface)}"
        f"table inet {table_name(interface)} {{\n"
        "  chain forward {\n"
        "    type filter hook forward priority mangle; policy accept;\n"
        f"{rules}"
        "  }\n"
        "}\n"
    )


def _mss(path: Route) -> int:
    if path.advmss is not None:
        return path.advmss
    assert path.mtu is not None
    return path.mtu - SEGMENT_HEADERS_BYTES[path.destination.version]
