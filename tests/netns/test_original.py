"""Peers of the original wgmesh: they know the fixed fields, serf and WireGuard, and no more than that.

The stand-in is a real `serf agent`, wireguard-go set with `wg` by hand, and gRPC with nothing newer than the contract.
"""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from tests.netns.mesh_harness import eventually, lab_network, status, wireguard
from tests.netns.plain_certificates import certificate_files, client_options, plain_certificate

from wgmesh_agent.lab.agent import Agent
from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.network import Network
from wgmesh_api.meshservice_pb2 import Peer

pytestmark = pytest.mark.netns
GOSSIP_PORT = 5353
SCRIPT = str(Path(__file__).with_name("original.py"))
# One write a line, so that no reader sees half of one.
HANDLER = 'user:_j=echo "$(base64 -w0)" >>/run/announcements'


def delivered(data: bytes) -> Peer:
    """What serf gave its handler: it puts a newline after a payload that does not end with that byte."""
    try:
        return Peer.FromString(data)
    except DecodeError:
        return Peer.FromString(data.removesuffix(b"\n"))


class OriginalHost:
    """A host with WireGuard and serf run by hand."""

    def __init__(self, network: Network, name: str) -> None:
        self.name = name
        self.network = network
        self.host: Host = network.add_host(name)
        self.endpoint = network.address(name)
        self.host.run(["sh", "-c", "umask 077; wg genkey >/run/key"])
        self.public_key = self.host.run(["sh", "-c", "wg pubkey </run/key"]).stdout.strip()
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, what: str, command: list[str]) -> Path:
        log: Path = self.network.folder / f"{self.name}-{what}.log"
        with log.open("wb") as output:
            self._processes.append(self.host.popen(command, output))
        return log

    def start_wireguard(self, address: str) -> None:
        self.start("wireguard", ["wireguard-go", "-f", "wgold"])
        socket = ["test", "-S", "/var/run/wireguard/wgold.sock"]
        eventually(lambda: self.host.run(socket, check=False).returncode == 0, 10, "wireguard-go runs")
        self.host.run(["wg", "set", "wgold", "listen-port", "54540", "private-key", "/run/key"])
        self.host.run(["ip", "address", "add", f"{address}/16", "dev", "wgold"])
        self.host.run(["ip", "link", "set", "wgold", "mtu", "1420", "up"])

    def add_peer(self, key: str, address: str, endpoint: str) -> None:
        self.host.run(
            ["wg", "set", "wgold", "peer", key, "allowed-ips", f"{address}/32", "endpoint", endpoint]
        )

    def start_serf(self, address: str, role: str, gossip_key: str, *more: str) -> None:
        """As the original runs it: with the five tags, on the mesh address."""
        tags = {"_pk": self.public_key, "_addr": self.endpoint, "_port": "54540", "_i": address, "_t": role}
        self.start(
            "serf",
            [
                "serf",
                "agent",
                f"-node={self.name}",
                f"-bind={address}:{GOSSIP_PORT}",
                "-profile=lan",
                f"-encrypt={gossip_key}",
                f"-event-handler={HANDLER}",
                *[f"-tag={k}={v}" for k, v in tags.items()],
                *more,
            ],
        )

    def serf_members(self) -> dict[str, dict[str, Any]]:
        done = self.host.run(["serf", "members", "-format=json"], check=False)
        members = json.loads(done.stdout)["members"] if done.returncode == 0 else []
        return {member["name"]: member for member in members}

    def announcements(self) -> list[Peer]:
        """The `_j` events its serf delivered."""
        lines = self.host.run(["cat", "/run/announcements"], check=False).stdout.split()
        return [delivered(base64.b64decode(line)) for line in lines]

    def answers(self, address: str) -> bool:
        return self.host.run(["ping", "-c", "1", "-W", "1", address], check=False).returncode == 0

    def end(self) -> None:
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with lab_network() as network:
        yield network


@pytest.fixture(scope="module")
def mesh(network: Network) -> Mesh:
    """n1 and n2 are ours; gossip is where the original expects it."""
    mesh = Mesh(network, bootstrap_options=("--gossip-port", str(GOSSIP_PORT)))
    for node in ("n1", "n2", "n3"):
        network.add_host(node)
    mesh.bootstrap("n1")
    mesh.join("n2")
    mesh.wait_until_full()
    return mesh


@pytest.fixture(scope="module")
def old(network: Network, mesh: Mesh) -> Iterator[OriginalHost]:
    """An original that joins our mesh."""
    old = OriginalHost(network, "old")
    files = map(str, plain_certificate(mesh, "old"))
    command = [
        sys.executable,
        SCRIPT,
        "join",
        mesh.service_address("n1"),
        mesh.name,
        old.name,
        old.public_key,
        old.endpoint,
        "54540",
        *files,
    ]
    answer = json.loads(old.host.run(command).stdout)
    address = answer["joiningNodeMeshIP"]
    old.start_wireguard(address)
    for peer in answer["peers"]:
        if peer["pubkey"] != old.public_key:
            old.add_peer(peer["pubkey"], peer["meshIP"], f"{peer['endpointIP']}:{peer['endpointPort']}")
    bootstrap = answer["peers"][0]["meshIP"]
    eventually(lambda: old.answers(bootstrap), 10, "the tunnel to the bootstrap node works")
    old.start_serf(address, "n", answer["serfEncryptionKey"], f"-join={bootstrap}:{GOSSIP_PORT}")
    yield old
    old.end()


def test_an_original_that_joins_is_a_living_member_for_all_of_ours(mesh: Mesh, old: OriginalHost) -> None:
    for node in ("n1", "n2"):
        eventually(lambda: status(mesh, node, "old") == "alive", 15, f"{node} has it alive")  # noqa: B023
        member = mesh.members(node)["old"]
        assert (member.pubkey, member.endpoint) == (old.public_key, f"{old.endpoint}:54540")
        eventually(lambda: not mesh.ping_address(node, member.addr).lost, 10, f"{node} reaches it")  # noqa: B023


def test_an_original_reaches_all_of_ours_and_sees_their_five_tags(mesh: Mesh, old: OriginalHost) -> None:
    eventually(lambda: set(old.serf_members()) == {"n1", "n2", "old"}, 10, "its serf knows all")
    for node, role in (("n1", "b"), ("n2", "n")):
        address = mesh.mesh_address(node)
        assert old.answers(address)
        tags = old.serf_members()[node]["tags"]
        assert {key: tags[key] for key in ("_pk", "_addr", "_port", "_i", "_t")} == {
            "_pk": mesh.agents[node].info().pubkey,
            "_addr": mesh.network.address(node),
            "_port": "54540",
            "_i": address,
            "_t": role,
        }


def test_an_original_hears_of_our_joiner_by_the_announcement_alone(mesh: Mesh, old: OriginalHost) -> None:
    agent = mesh.join("n3")
    key = agent.wait_until_ready().pubkey
    eventually(lambda: any(peer.pubkey == key for peer in old.announcements()), 10, "it hears _j")
    peer = next(peer for peer in old.announcements() if peer.pubkey == key)
    assert peer.type == Peer.JOIN
    assert (peer.endpointIP, peer.endpointPort) == (mesh.network.address("n3"), 54540)
    old.add_peer(key, peer.meshIP, f"{peer.endpointIP}:{peer.endpointPort}")
    eventually(lambda: old.answers(mesh.mesh_address("n3")), 10, "the tunnel to the new member works")
    mesh.wait_until_full({"n1", "n2", "n3"})


def test_an_original_that_leaves_is_no_peer_of_ours_any_more(mesh: Mesh, old: OriginalHost) -> None:
    old.host.run(["serf", "leave"])
    for node in ("n1", "n2"):
        host = mesh.network.hosts[node]
        eventually(lambda: old.public_key not in wireguard(host).tunnels, 10, f"{node} lets it go")  # noqa: B023
        assert status(mesh, node, "old") is None


@pytest.fixture(scope="module")
def boot() -> Iterator[OriginalHost]:
    """An original with a mesh of its own; our host `ours` is on the same switch, and has a certificate."""
    with lab_network() as network:
        boot = OriginalHost(network, "boot")
        network.add_host("ours")
        boot.start_wireguard("10.232.1.1")
        gossip_key = base64.b64encode(bytes(range(32))).decode()
        boot.start_serf("10.232.1.1", "b", gossip_key)
        mesh = Mesh(network)
        plain_certificate(mesh, "ours")
        files = map(str, plain_certificate(mesh, "boot", address=boot.endpoint))
        log = boot.start(
            "service",
            [
                sys.executable,
                SCRIPT,
                "serve",
                f"{boot.endpoint}:5000",
                mesh.name,
                "wgold",
                boot.public_key,
                boot.endpoint,
                "54540",
                gossip_key,
                *files,
            ],
        )
        eventually(lambda: log.read_text() == "serves\n", 20, log.read_text)
        yield boot
        boot.end()


@pytest.fixture(scope="module")
def ours(boot: OriginalHost) -> Agent:
    """Our agent, joined by the original."""
    client = client_options(certificate_files(boot.network, "ours"))
    target = ["-bootstrap-addr", f"{boot.endpoint}:5000"]
    agent = Agent(
        boot.network.hosts["ours"], ["join", "-v", "-n", "lab", "-node-name", "ours", *client, *target]
    )
    agent.start()
    agent.wait_until_ready()
    return agent


def has_alive(agent: Agent, node: str) -> bool:
    member = agent.nodes().get(node)
    return member is not None and member.status == "alive"


def test_our_node_enters_an_original_s_mesh_with_what_it_says(boot: OriginalHost, ours: Agent) -> None:
    info = ours.info()
    assert (info.nodeName, list(info.meshIPs), info.meshCeationTS) == ("ours", ["10.232.0.1"], 1_600_000_000)
    eventually(lambda: has_alive(ours, "boot"), 10, "we have it alive")
    member = ours.nodes()["boot"]
    assert (member.addr, member.pubkey, member.bootstrap) == ("10.232.1.1", boot.public_key, True)
    assert boot.answers("10.232.0.1")
    members = boot.serf_members()
    assert (members["ours"]["status"], members["ours"]["addr"]) == ("alive", f"10.232.0.1:{GOSSIP_PORT}")
    assert members["ours"]["tags"]["_pk"] == info.pubkey


def test_our_node_restarts_in_an_original_s_mesh(boot: OriginalHost, ours: Agent) -> None:
    before = ours.info()
    ours.kill()
    ours.start()
    after = ours.wait_until_ready()
    assert (after.pubkey, list(after.meshIPs)) == (before.pubkey, list(before.meshIPs))
    eventually(lambda: has_alive(ours, "boot"), 15, "we have it alive again")
    assert boot.answers("10.232.0.1")


def test_our_node_takes_up_a_member_that_the_original_announces(boot: OriginalHost, ours: Agent) -> None:
    """With the fixed fields alone, there is not even a name in it."""
    key = boot.host.run(["sh", "-c", "wg genkey | wg pubkey"]).stdout.strip()
    peer = Peer(pubkey=key, endpointIP="10.0.0.99", endpointPort=54540, meshIP="10.232.0.50")
    payload = "".join(f"\\x{byte:02x}" for byte in peer.SerializeToString())
    boot.host.run(["bash", "-c", f"serf event -coalesce=false _j $'{payload}'"])
    eventually(lambda: key in wireguard(ours.host).tunnels, 10, "it is a peer")
    assert wireguard(ours.host).tunnels[key].allowed_ips == {"10.232.0.50/32"}


def test_our_node_s_leave_is_seen_by_the_original(boot: OriginalHost, ours: Agent) -> None:
    assert ours.stop(signal.SIGINT) == 0
    eventually(lambda: boot.serf_members()["ours"]["status"] == "left", 10, "its serf has us left")
