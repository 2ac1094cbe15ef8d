"""Names of members: what is allowed, and the one a member gets that asks for none."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

NODE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
MESH_NAME = re.compile(r"[A-Za-z0-9]{1,10}")


def default_node_name(mesh_name: str, address: IPv4Address | IPv6Address) -> str:
    """The mesh name followed by the mesh address in upper-case hex, `blueAE80101` for 10.232.1.1."""
    return f"{mesh_name}{int(address):X}"


def is_node_name(name: str) -> bool:
    """1 to 64 letters, digits, dots, underscores and dashes, with a letter or digit at both ends."""
    return NODE_NAME.fullmatch(name) is not None


def is_mesh_name(name: str) -> bool:
    """1 to 10 letters and digits: `wg` and the name must fit an interface name of 15 bytes."""
    return MESH_NAME.fullmatch(name) is not None
