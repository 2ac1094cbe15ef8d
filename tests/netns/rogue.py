"""A compromised member, run inside a lab host: it holds the gossip key and a mesh address, and sends what is requested.

Its argument is a JSON object: `folder` (a mesh's state folder), `name`, `port`, `seeds` (mesh addresses to join gossip
by), `tags` and `socket`, on which it accepts requests, one per connection: a JSON object with `tags`, `events` (pairs
of a name and base64), `force_leave` (names), `flood` (pairs of a member's name and address), and `dismiss` (names) with
`targets` (mesh addresses). It stays a member until it is killed.
"""

import asyncio
import base64
import json
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.memberlist.config import PROFILES, SerfConfig
from wgmesh_agent.gossip.wire.endpoint import Endpoint, IPAddress
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.messages import Alive, Dead, Suspect, UserMessage, encode
from wgmesh_agent.gossip.wire.serf_messages import JoinIntent, LeaveIntent, UserEvent, encode_serf
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.runtime.checksummed_file import load
from wgmesh_agent.state.codec import mesh_from_json
from wgmesh_agent.state.store import MESH


def flood(node: GossipNode, victim: str, address: IPAddress, name: str, record: MeshRecord) -> None:
    """Sends a victim times and incarnations that no cluster reaches, about the victim and about itself."""
    say = node._core._memberlist.transmitter.send
    where = Endpoint(address, record.gossip_port)
    for incarnation in (1 << 20, (1 << 31) + (1 << 17), (1 << 32) - 2, (1 << 32) - 1):
        for about in ("n1", "n2", "n3"):
            alive = Alive(incarnation, about, address.packed, record.gossip_port, b"", OWN_VERSIONS)
            say([encode(alive)], where)
            say([encode(Suspect(incarnation, about, name))], where)
            say([encode(Dead(incarnation, about, name))], where)
            say([encode(Dead(incarnation, about, about))], where)
    for ltime in ((1 << 41), (1 << 62), (1 << 63) - 1, (1 << 64) - 1):
        for about in ("n1", "n2", "n3"):
            for message in (JoinIntent(ltime, about), LeaveIntent(ltime, about)):
                say([encode(UserMessage(encode_serf(message)))], where)
        say([encode(UserMessage(encode_serf(UserEvent(ltime, "late", b""))))], where)
    node._flush()


def dismiss(node: GossipNode, victim: str, targets: list[IPAddress], name: str, record: MeshRecord) -> None:
    """Reports to each target in one datagram that a live member is dead, and that it is to be forgotten."""
    ltime = node._core._clock.time + 2
    dead = encode(Dead(node.members()[victim].incarnation, victim, name))
    leave = encode(UserMessage(encode_serf(LeaveIntent(ltime, victim, prune=True))))
    for target in targets:
        node._core._memberlist.transmitter.send([dead, leave], Endpoint(target, record.gossip_port))
    node._flush()


async def misbehave(setting: dict[str, Any]) -> None:
    record = mesh_from_json(load(Path(setting["folder"]) / MESH))
    config = SerfConfig(
        node_name=setting["name"],
        address=record.addresses[0],
        port=setting["port"],
        profile=PROFILES[record.profile],
        tags=setting["tags"],
        # It ignores the limits that honest members observe.
        user_event_bytes=4096,
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
        for victim, address in order.get("flood", ()):
            flood(node, victim, ip_address(address), setting["name"], record)
        targets = [ip_address(address) for address in order.get("targets", ())]
        for victim in order.get("dismiss", ()):
            dismiss(node, victim, targets, setting["name"], record)
        writer.write(b"done")
        writer.close()

    async with await asyncio.start_unix_server(obey, setting["socket"]) as server:
        await server.serve_forever()


asyncio.run(misbehave(json.loads(sys.argv[1])))
