"""A link between a node and another machine, cut by nftables like by a pulled cable, and restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.kind.nodes import Node

TABLE = "e2e_apart"
RULES = """
add table inet {table}
add chain inet {table} out {{ type filter hook output priority 0; policy accept; }}
add chain inet {table} in {{ type filter hook input priority 0; policy accept; }}
add rule inet {table} out ip daddr {peer} udp dport {port} counter drop
add rule inet {table} in ip saddr {peer} udp dport {port} counter drop
"""


@contextmanager
def apart(node: Node, peer: Node, port: int) -> Iterator[None]:
    """Nothing goes to or from the peer's UDP port within the block."""
    node.run("nft", "-f", "-", stdin=RULES.format(table=TABLE, peer=peer.underlay(), port=port))
    try:
        yield
    finally:
        node.run("nft", "delete", "table", "inet", TABLE)
