"""Default name of a member that requests none."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address


def default_node_name(mesh_name: str, address: IPv4Address | IPv6Address) -> str:
    """The mesh name followed by the mesh address in upper-case hex, `blueAE80101` for 10.232.1.1."""
    return f"{mesh_name}{int(address):X}"
