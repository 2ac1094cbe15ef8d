"""A hostile member, run inside a lab host whose agent has been killed: it keeps up its membership, and attacks on
request.

Its argument is a JSON object: `folder` (a mesh's state folder), `name`, `victims` (mesh addresses by name), `keys`
(WireGuard keys by name) and `socket`, on which it accepts requests, one per connection: a JSON object with `attacks`
(names of ATTACKS and STREAMS), `seconds`, `rate` (datagrams a second in total) and `seed`. It answers how many it sent
of each.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Any

sys.modules["tests"] = ModuleType("tests")
sys.modules["tests"].__path__ = [str(Path(__file__).parents[1])]

from tests.hostile.attacks import ATTACKS, Facts  # noqa: E402

from wgmesh_agent.gossip.aio.node import GossipNode  # noqa: E402
from wgmesh_agent.gossip.memberlist.config import PROFILES, SerfConfig  # noqa: E402
from wgmesh_agent.gossip.wire.keyring import Keyring  # noqa: E402
from wgmesh_agent.gossip.wire.node_state import NodeState, NodeStateKind, PushPull  # noqa: E402
from wgmesh_agent.gossip.wire.packet import PacketCodec  # noqa: E402
from wgmesh_agent.gossip.wire.stream import StreamCodec, stream_message  # noqa: E402
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS  # noqa: E402
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord  # noqa: E402
from wgmesh_agent.runtime.checksummed_file import load  # noqa: E402
from wgmesh_agent.state.codec import mesh_from_json  # noqa: E402
from wgmesh_agent.state.store import MESH  # noqa: E402

TICK_SECONDS = 0.02
MOST_STREAMS = 200
Stream = Callable[["Hostile", random.Random, asyncio.Event, Counter[str]], Awaitable[None]]


class Hostile:
    """The member: its own gossip node, and the socket of that node, by which it attacks."""

    def __init__(self, setting: dict[str, Any], record: MeshRecord, node: GossipNode) -> None:
        self.facts = Facts(
            setting["name"],
            record.addresses[0],
            {name: ip_address(address) for name, address in setting["victims"].items()},
            setting["keys"],
            record.gossip_port,
            self._incarnation,
            lambda: node._core._clock.time,
        )
        keyring = Keyring(record.gossip_keys[0])
        self.packets = PacketCodec(keyring, nonces=os.urandom)
        self.streams = StreamCodec(keyring, nonces=os.urandom)
        self._node = node

    def _incarnation(self, name: str) -> int:
        member = self._node.members().get(name)
        return member.incarnation if member is not None else 1

    async def attack(self, order: dict[str, Any]) -> Counter[str]:
        """Carries out one order to its end."""
        sent: Counter[str] = Counter()
        rng, ended = random.Random(order["seed"]), asyncio.Event()
        streams = [STREAMS[name](self, rng, ended, sent) for name in order["attacks"] if name in STREAMS]
        tasks = [asyncio.ensure_future(stream) for stream in streams]
        generators = {name: ATTACKS[name](self.facts, rng) for name in order["attacks"] if name in ATTACKS}
        loop = asyncio.get_running_loop()
        begun, count = loop.time(), 0
        victims = list(self.facts.victims.values())
        names = list(generators)
        while (passed := loop.time() - begun) < order["seconds"]:
            while names and count < passed * order["rate"]:
                name = names[count % len(names)]
                parts = next(generators[name])
                # Some parts are larger than a datagram may be: then they go as far as the kernel takes them.
                datagram = self.packets.encode([part[:60000] for part in parts])
                self._send(datagram, str(victims[count // len(names) % len(victims)]))
                sent[name] += 1
                count += 1
            await asyncio.sleep(TICK_SECONDS)
        ended.set()
        await asyncio.gather(*tasks)
        return sent

    def _send(self, datagram: bytes, address: str) -> None:
        udp = self._node._udp
        assert udp is not None
        try:
            udp.sendto(datagram, (address, self.facts.port))
        except (BlockingIOError, PermissionError, OSError):
            # A full buffer, or a victim that is not there for a moment: the next one goes.
            return


async def _connections(
    hostile: Hostile,
    rng: random.Random,
    ended: asyncio.Event,
    sent: Counter[str],
    name: str,
    payload: Callable[[], bytes],
    pause: float,
) -> None:
    """Keeps up to MOST_STREAMS connections that send `payload` and read nothing."""
    held: list[asyncio.StreamWriter] = []
    victims = [str(address) for address in hostile.facts.victims.values()]
    try:
        while not ended.is_set():
            held = [writer for writer in held if not writer.is_closing()]
            if len(held) < MOST_STREAMS:
                try:
                    opening = asyncio.open_connection(rng.choice(victims), hostile.facts.port, limit=1024)
                    _, writer = await asyncio.wait_for(opening, 2)
                except (OSError, TimeoutError):
                    await asyncio.sleep(pause)
                    continue
                writer.write(payload())
                held.append(writer)
                sent[name] += 1
            await asyncio.sleep(pause)
    finally:
        for writer in held:
            writer.transport.abort()


def _push_pull(hostile: Hostile, *nodes: NodeState, join: bool = True) -> bytes:
    return hostile.streams.encode(stream_message(PushPull(join, nodes)), reply=False)


def _state(name: str, address: bytes, port: int, kind: NodeStateKind, incarnation: int = 1) -> NodeState:
    return NodeState(name, address, port, b"", incarnation, kind, OWN_VERSIONS)


async def slow_readers(
    hostile: Hostile, rng: random.Random, ended: asyncio.Event, sent: Counter[str]
) -> None:
    """H16, S04: asks for the whole state, as often as it can, and never reads it."""
    facts = hostile.facts
    own = _state(facts.own, facts.address.packed, facts.port, NodeStateKind.ALIVE)
    await _connections(hostile, rng, ended, sent, "slow readers", lambda: _push_pull(hostile, own), 0.02)


async def slow_writers(
    hostile: Hostile, rng: random.Random, ended: asyncio.Event, sent: Counter[str]
) -> None:
    """S04: the head of a frame of 4 MiB, and then nothing, or a little."""
    head = bytes((10,)) + (4 << 20).to_bytes(4, "big")
    await _connections(hostile, rng, ended, sent, "slow writers", lambda: head + rng.randbytes(2000), 0.02)


async def merges(hostile: Hostile, rng: random.Random, ended: asyncio.Event, sent: Counter[str]) -> None:
    """S26, H18, H19: states without all honest members, and with thousands of others."""

    def state() -> bytes:
        facts = hostile.facts
        kinds = [NodeStateKind.DEAD, NodeStateKind.LEFT, NodeStateKind.SUSPECT]
        nodes = [
            _state(name, address.packed, facts.port, rng.choice(kinds), rng.randrange(1, 1 << 20))
            for name, address in facts.victims.items()
        ]
        nodes += [
            _state(f"merged{rng.randrange(1 << 20)}", rng.randbytes(4), 7946, NodeStateKind.ALIVE)
            for _ in range(300)
        ]
        nodes.append(NodeState("odd", b"", 0, b"", 1, NodeStateKind.ALIVE, bytes(6)))
        return _push_pull(hostile, *nodes, join=rng.random() < 0.5)

    await _connections(hostile, rng, ended, sent, "merges", state, 0.2)


STREAMS: dict[str, Stream] = {"slow readers": slow_readers, "slow writers": slow_writers, "merges": merges}


async def main(setting: dict[str, Any]) -> None:
    record = mesh_from_json(load(Path(setting["folder"]) / MESH))
    config = SerfConfig(
        node_name=setting["name"],
        address=record.addresses[0],
        port=record.gossip_port,
        profile=PROFILES[record.profile],
        tags={},
    )
    node = GossipNode(config, keyring=Keyring(record.gossip_keys[0]))
    await node.start()
    await node.join([(ip_address(seed), record.gossip_port) for seed in setting["victims"].values()])
    hostile = Hostile(setting, record, node)

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        order = json.loads(await reader.read())
        writer.write(json.dumps(await hostile.attack(order)).encode())
        writer.close()

    async with await asyncio.start_unix_server(obey, setting["socket"]) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
