"""Valid names of meshes and nodes, for certificates, command line and custom resources."""

from __future__ import annotations

import re

MESH_NAME = r"[A-Za-z0-9]{1,10}"
NODE_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?"

_MESH_NAME = re.compile(MESH_NAME)
_NODE_NAME = re.compile(NODE_NAME)


def is_mesh_name(name: str) -> bool:
    """Returns whether it is 1 to 10 letters and digits: `wg` and the name must fit an interface name of 15 bytes."""
    return _MESH_NAME.fullmatch(name) is not None


def is_node_name(name: str) -> bool:
    """Returns whether it is 1 to 64 letters, digits, dots, underscores and dashes, with a letter or digit at both
    ends."""
    return _NODE_NAME.fullmatch(name) is not None
