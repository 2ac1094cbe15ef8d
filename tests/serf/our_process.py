"""Our node as a process of its own: `our_process.py NAME ADDRESS JOIN_ADDRESS`, plaintext key as in `agents`."""

from __future__ import annotations

import asyncio
import sys
from ipaddress import ip_address

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.wire.keyring import Keyring


async def main(name: str, address: str, join: str) -> None:
    """Join and stay."""
    node = GossipNode(SerfConfig(name, ip_address(address), 7946), keyring=Keyring(bytes(range(32))))
    await node.start()
    await node.join([(ip_address(join), 7946)])
    print("joined", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
