"""A member gone bad, run inside a lab host: it holds the gossip key and a mesh address, and says what it is told to.

Its argument is a JSON object: `folder` (a mesh's state folder), `name`, `port`, `seeds` (mesh addresses to join
gossip by), `tags` and `socket`, where it takes orders, one a connection: a JSON object with `tags`, `events` (pairs of
a name and base64) and `force_leave` (names). It stays a member until it is killed.
"""

import asyncio
import base64
import json
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from wgmesh_agent.gossip.config import PROFILES, SerfConfig
from wgmesh_agent.gossip.keyring import Keyring
from wgmesh_agent.gossip_io import GossipNode
from wgmesh_agent.state.folder import MESH
from wgmesh_agent.state.records import mesh_from_json
from wgmesh_agent.state.sealed_file import load


async def misbehave(setting: dict[str, Any]) -> None:
    record = mesh_from_json(load(Path(setting["folder"]) / MESH))
    config = SerfConfig(
        node_name=setting["name"],
        address=record.addresses[0],
        port=setting["port"],
        profile=PROFILES[record.profile],
        tags=setting["tags"],
    )
    node = GossipNode(config, keyring=Keyring(record.gossip_keys[0]))
    await node.start()
    await node.join([(ip_address(seed), record.gossip_port) for seed in setting["seeds"]])

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        order = json.loads(await reader.read())
        if order.get("tags") is not None:
            node.set_tags(order["tags"])
        for name, payload in order.get("events", ()):
            node.user_event(name, base64.b64decode(payload))
        for name in order.get("force_leave", ()):
            node.force_leave(name, prune=True)
        writer.write(b"done")
        writer.close()

    async with await asyncio.start_unix_server(obey, setting["socket"]) as server:
        await server.serve_forever()


asyncio.run(misbehave(json.loads(sys.argv[1])))
