"""One real agent's inside among 5,000 members that are only bytes: gossip on loopback, a device in memory.

What comes from WireGuard is text as wireguard-go writes it, read by the agent's own reader in the agent's own thread.
"""

from __future__ import annotations

import random
import socket
import socketserver
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

from tests.unit.policies import standalone

from wgmesh_agent.agent.composition import compose
from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.platform import system_platform
from wgmesh_agent.agent.session_end import SessionEnd
from wgmesh_agent.agent.session_start import NodeStart, SessionConfig
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.messages import NodeState, NodeStateKind, PushPull
from wgmesh_agent.gossip.wire.serf_messages import SerfPushPull, encode_serf, encode_tags
from wgmesh_agent.gossip.wire.stream import StreamCodec, stream_message
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS
from wgmesh_agent.linux.backends.backend_selection import SelectedBackend
from wgmesh_agent.linux.netlink_thread import NetlinkThread
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.local_node import NodeConfig
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.membership.tags import own_tags
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.backend import BackendKind
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.memory_backend import MemoryBackend
from wgmesh_agent.wireguard.model import Device, Endpoint, IPAddress
from wgmesh_agent.wireguard.uapi import decode_get

KEY = bytes(range(32))
MESH, OWN = "blue", "mesh-node-own"
OWN_ADDRESS = IPv4Address("127.0.0.1")
RANGE = ip_network("127.0.0.0/8")


def free_port() -> int:
    """A port that TCP and UDP have free, and the UDP port after it too."""
    while True:
        with (
            socket.socket() as tcp,
            socket.socket(type=socket.SOCK_DGRAM) as udp,
            socket.socket(type=socket.SOCK_DGRAM) as after,
        ):
            tcp.bind((str(OWN_ADDRESS), 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind((str(OWN_ADDRESS), port))
                after.bind((str(OWN_ADDRESS), port + 1))
            except (OSError, OverflowError):
                continue
            return int(port)


def claims(count: int) -> list[Claim]:
    """Members mesh-node-00000 and on, as they would say of themselves."""
    rng = random.Random(5)
    return [
        Claim(
            f"mesh-node-{index:05d}",
            PublicKey(rng.randbytes(32)),
            (IPv4Address("127.1.0.1") + index,),
            (Endpoint(IPv4Address("198.18.0.1") + index, 54540),),
            bootstrap=index == 0,
        )
        for index in range(count)
    ]


def full_state(members: list[Claim], port: int, *, join: bool, reply: bool) -> bytes:
    """All of them alive, as one of them sends it, encrypted."""
    nodes = tuple(
        NodeState(
            claim.node,
            claim.addresses[0].packed,
            port,
            encode_tags(own_tags(claim, {}, probe_port=port + 1)),
            1,
            NodeStateKind.ALIVE,
            OWN_VERSIONS,
        )
        for claim in members
    )
    serf = SerfPushPull(10, {node.name: index % 9 for index, node in enumerate(nodes)})
    codec = StreamCodec(Keyring(KEY), nonces=random.Random(1).randbytes)
    return codec.encode(stream_message(PushPull(join, nodes, encode_serf(serf))), reply)


class Hub:
    """Answers every exchange of states with the same bytes, from a thread, at the first member's address."""

    def __init__(self, address: str, port: int, reply: bytes) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.recv(1 << 16)
                self.request.sendall(reply)
                while self.request.recv(1 << 16):
                    continue

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server((address, port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class TextBackend(MemoryBackend):
    """A device in memory that is read as wireguard-go's is: from text, in a thread."""

    def __init__(self, name: str) -> None:
        super().__init__(name, time.time)
        self._worker = NetlinkThread("device")
        self._text: tuple[Device, bytes] | None = None

    async def read(self) -> Device:
        device = await super().read()
        if self._text is None or self._text[0] is not device:
            self._text = device, await self._worker.run(_dump, device)
        read = await self._worker.run(decode_get, self._text[1], self.name, {})
        self.device = Device(read.name, device.public_key, read.listen_port, read.fwmark, read.peers)
        self._text = self.device, self._text[1]
        return self.device


def _dump(device: Device) -> bytes:
    lines = [f"listen_port={device.listen_port}"]
    for key, peer in device.peers.items():
        lines += [f"public_key={key.raw.hex()}", f"preshared_key={'0' * 64}"]
        if peer.endpoint is not None:
            lines.append(f"endpoint={peer.endpoint}")
        lines += ["last_handshake_time_sec=1", "last_handshake_time_nsec=5", "tx_bytes=9", "rx_bytes=9"]
        lines += [f"allowed_ip={one}" for one in peer.allowed_ips]
    return ("\n".join([*lines, "errno=0"]) + "\n\n").encode()


@dataclass(frozen=True, slots=True)
class _Choice(SelectedBackend):
    """Stands where the choice between the real back ends stands."""

    def backend(self, name: str, **callbacks: object) -> TextBackend:
        return TextBackend(name)


def node(folder: Path, port: int) -> MeshNode:
    """A member by itself, not started."""
    record = MeshRecord(MESH, OWN, (OWN_ADDRESS,), (RANGE,), (), 1, 1, (KEY,), "lan", port, False, {})
    own_key = PrivateKey.generate(random.Random(9).randbytes)
    endpoint = Endpoint(ip_address("198.19.255.254"), 54540)

    async def lookup(towards: Sequence[IPAddress]) -> Endpoint:
        return endpoint

    start = NodeStart(
        NodeConfig("wgblue", 54540, 1420), record, own_key, endpoint, lookup, SessionConfig(None, None, None)
    )
    return compose(
        start,
        StateStore(folder, MESH),
        _Choice(BackendKind.KERNEL, "a bench"),
        standalone(),
        SessionEnd(),
        system_platform(),
    )
