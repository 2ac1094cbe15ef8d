"""Programming many peers, and throughput through a tunnel, each beside `wg` doing the same: prints tables with ratios.

Of times the best of several rounds counts, since whatever else the machine does can only slow one down.
Usage: python tests/bench/bench_wireguard.py --ground kernel|userspace     (root; kernel: runs itself in the guest)
"""

import argparse
import asyncio
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Sequence
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Some installed package brings a `tests` of its own, which would be found first.
sys.modules["tests"] = tests = types.ModuleType("tests")
tests.__path__ = [str(ROOT / "tests")]

from tests.netns.backend_harness import Agent, Host, hosts, until, wire  # noqa: E402

from wgmesh_agent.linux.genetlink import Genetlink  # noqa: E402
from wgmesh_agent.wireguard.backend import BackendKind  # noqa: E402
from wgmesh_agent.wireguard.errors import BackEndUnavailableError  # noqa: E402
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey  # noqa: E402
from wgmesh_agent.wireguard.model import DesiredDevice, DesiredPeer, Endpoint, InterfaceSpec  # noqa: E402

MTU = 1420
PORT = 51820
OURS, THEIRS = "wgours", "wghand"
BLOCK_BYTES = 1 << 20
BURSTS_A_ROUND = 3


def peers(count: int, seed: int) -> tuple[DesiredPeer, ...]:
    """Peers as a mesh has them: one address, one endpoint, keepalive."""
    chance = random.Random(seed)
    first, underlay = int(ip_address("10.232.2.0")), int(ip_address("198.18.0.0"))
    return tuple(
        DesiredPeer(
            PublicKey(chance.randbytes(32)),
            frozenset({ip_network(first + number)}),
            (Endpoint(ip_address(underlay + number), PORT),),
            25,
        )
        for number in range(count)
    )


def as_file(wanted: Sequence[DesiredPeer]) -> str:
    """The path of a file for `wg addconf`."""
    text = "\n".join(
        f"[Peer]\nPublicKey = {peer.public_key}\nEndpoint = {peer.endpoints[0]}\n"
        f"AllowedIPs = {', '.join(str(one) for one in peer.allowed_ips)}\nPersistentKeepalive = 25\n"
        for peer in wanted
    )
    with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as file:
        file.write(text)
    return file.name


def spec(name: str, number: int) -> InterfaceSpec:
    return InterfaceSpec(name, (ip_interface(f"10.232.1.{number}"),), (ip_network("10.232.0.0/16"),), MTU)


class ByHand:
    """What a person with `ip` and `wg` does, for comparison."""

    def __init__(self, host: Host, kind: BackendKind, name: str = THEIRS) -> None:
        self._host = host
        self._kind = kind
        self._name = name

    def make(self, number: int, key: PrivateKey, port: int, network: int = 232) -> None:
        if self._kind is BackendKind.KERNEL:
            self._host.run("ip", "link", "add", self._name, "type", "wireguard")
        else:
            self._host.run("wireguard-go", self._name)
        self._host.run(
            "sh",
            "-c",
            f"echo {key.to_base64()} | wg set {self._name} listen-port {port} private-key /dev/stdin",
        )
        self._host.run("ip", "address", "add", f"10.{network}.1.{number}/32", "dev", self._name)
        self._host.run("ip", "link", "set", self._name, "mtu", str(MTU), "up")
        self._host.run("ip", "route", "add", f"10.{network}.0.0/16", "dev", self._name)

    def peer(self, key: PublicKey, address: str, endpoint: str) -> None:
        self._host.run(
            "wg",
            "set",
            self._name,
            "peer",
            str(key),
            "allowed-ips",
            address,
            "endpoint",
            endpoint,
            "persistent-keepalive",
            "25",
        )

    def addconf(self, file: str) -> float:
        """Seconds `wg addconf` takes, from the start of the program to its end."""
        command = self._host.inside("wg", "addconf", self._name, file)
        nothing = self._host.inside("true")
        before = time.perf_counter()
        subprocess.run(nothing, check=True)
        entering = time.perf_counter() - before
        before = time.perf_counter()
        subprocess.run(command, check=True)
        # Entering the namespaces is this bench's doing, not wg's.
        return time.perf_counter() - before - entering


async def programming(kind: BackendKind, counts: Sequence[int], rounds: int) -> None:
    rows = []
    for count in counts:
        wanted = peers(count, seed=count)
        file = as_file(wanted)
        key = PrivateKey.generate(os.urandom)
        ours: dict[str, list[float]] = {"read": [], "diff": [], "apply": []}
        again: list[float] = []
        theirs: list[float] = []
        try:
            for _ in range(rounds):
                with hosts(1) as (host,):
                    hand = ByHand(host, kind)
                    hand.make(1, key, PORT)
                    theirs.append(hand.addconf(file))
                with hosts(1) as (host,):
                    async with Agent(host) as agent:
                        await agent.choose(kind.value, OURS)
                        await agent.open(spec(OURS, 1))
                        await agent.converge(DesiredDevice(key, PORT))
                        _, seconds = await agent.converge(DesiredDevice(key, PORT, wanted))
                        for step, value in seconds.items():
                            ours[step].append(value)
                        changes, seconds = await agent.converge(DesiredDevice(key, PORT, wanted))
                        assert changes == ()
                        again.append(sum(seconds.values()))
                        await agent.destroy()
                        await agent.close()
        finally:
            os.unlink(file)  # noqa: PTH108
        apply, reference = min(ours["apply"]), min(theirs)
        whole = sum(min(values) for values in ours.values())
        rows.append(
            [
                str(count),
                ms(reference),
                ms(apply),
                f"{apply / reference:.2f}",
                ms(whole),
                f"{whole / reference:.2f}",
                ms(min(again)),
            ]
        )
    table(
        f"programming, {kind.value} back end (best of {rounds})",
        ["peers", "wg addconf", "apply", "ratio", "read+diff+apply", "ratio", "read+diff, nothing to do"],
        rows,
    )


async def throughput(kind: BackendKind, seconds: float, rounds: int) -> None:
    hand, ours, again = "10.233.1.2", "10.232.1.2", "10.234.1.2"
    carried: dict[str, list[float]] = {hand: [], ours: [], again: []}
    for number in range(rounds):
        # New tunnels every round, in another order: where a process and its threads happen to land stays for its life.
        await _round(kind, carried, list(carried) if number % 2 else list(reversed(carried)), seconds)
    reference, mine, other = (statistics.median(values) for values in carried.values())
    table(
        f"throughput of one TCP connection, {kind.value} back end "
        f"(median of {rounds} tunnels of {BURSTS_A_ROUND} bursts of {seconds:g} s)",
        ["by hand with wg", "ours", "ratio", "by hand, a second tunnel", "its ratio"],
        [[gbit(reference), gbit(mine), f"{mine / reference:.3f}", gbit(other), f"{other / reference:.3f}"]],
    )


async def _round(
    kind: BackendKind, carried: dict[str, list[float]], order: list[str], seconds: float
) -> None:
    """Tunnels between the same two hosts that differ only in who made them; a burst through each, turn and turn about,
    so that a slow spell of the machine meets all.
    """
    with hosts(2) as (left, right):
        wire(left, right, 1)
        one, two = PrivateKey.generate(os.urandom), PrivateKey.generate(os.urandom)
        async with Agent(left) as here, Agent(right) as there:
            ends = ((left, here, 1, one, two, 2), (right, there, 2, two, one, 1))
            for address in order:
                network = int(address.split(".")[1])
                for host, agent, number, own, other, far in ends:
                    endpoint = Endpoint(ip_address(f"10.9.1.{far}"), PORT + network)
                    if network != 232:
                        by_hand = ByHand(host, kind, f"wghand{network}")
                        by_hand.make(number, own, endpoint.port, network)
                        by_hand.peer(other.public(), f"10.{network}.1.{far}/32", str(endpoint))
                        continue
                    await agent.choose(kind.value, OURS)
                    await agent.open(spec(OURS, number))
                    allowed = frozenset({ip_network(f"10.232.1.{far}")})
                    peer = DesiredPeer(other.public(), allowed, (endpoint,), 25)
                    await agent.converge(DesiredDevice(own, endpoint.port, (peer,)))
            for address in order:
                until(lambda address=address: answers(left, address), f"the tunnel to {address}")  # type: ignore[misc]
            for _ in range(BURSTS_A_ROUND):
                for address in order:
                    carried[address].append(burst(left, right, address, seconds))
            for agent in (here, there):
                await agent.destroy()
                await agent.close()


def answers(host: Host, address: str) -> bool:
    return " 0% packet loss" in host.run("ping", "-c1", "-W1", address, check=False)


def burst(left: Host, right: Host, address: str, seconds: float) -> float:
    """Bytes a second through the tunnel from `left` to `address` on `right`."""
    program = str(Path(__file__))
    receiver = right.popen(sys.executable, program, "--receive")
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "listening\n"
    sender = left.popen(sys.executable, program, "--send", address, "--seconds", str(seconds))
    sender.communicate()
    output, _ = receiver.communicate()
    return float(output)


def receive() -> None:
    """Print bytes a second of the first connection, from its first byte to its last."""
    with socket.create_server(("", 5001)) as server:
        print("listening", flush=True)
        connection, _ = server.accept()
        buffer = bytearray(BLOCK_BYTES)
        total = connection.recv_into(buffer)
        began = last = time.perf_counter()
        while got := connection.recv_into(buffer):
            total += got
            last = time.perf_counter()
        print(total / (last - began), flush=True)
        connection.close()


def send(address: str, seconds: float) -> None:
    block = bytes(BLOCK_BYTES)
    with socket.create_connection((address, 5001)) as connection:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            connection.sendall(block)


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


def gbit(bytes_a_second: float) -> str:
    return f"{bytes_a_second * 8 / 1e9:.3f} Gbit/s"


def table(title: str, heads: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]

    def line(row: list[str]) -> str:
        return "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    print(f"\n{title}\n\n{line(heads)}\n|{'|'.join('-' * (width + 1) + ':' for width in widths)}|")
    for row in rows:
        print(line(row), flush=True)


def has_kernel_wireguard() -> bool:
    try:
        Genetlink("wireguard").close()
    except BackEndUnavailableError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ground", choices=[kind.value for kind in BackendKind])
    parser.add_argument("--peers", type=int, nargs="+", default=[500, 1000])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--send", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.receive:
        receive()
    elif chosen.send:
        send(chosen.send, chosen.seconds)
    elif chosen.ground is None:
        parser.error("--ground is needed")
    elif chosen.ground == "kernel" and not has_kernel_wireguard():
        uml = ROOT / "tests" / "kernel" / "uml"
        subprocess.run([uml / "build"], check=True)
        os.execv(uml / "run", [str(uml / "run"), sys.executable, *map(os.fspath, sys.argv)])
    else:
        kind = BackendKind(chosen.ground)
        print(f"{platform.platform()}, {os.cpu_count()} CPU", flush=True)
        asyncio.run(programming(kind, chosen.peers, chosen.rounds))
        asyncio.run(throughput(kind, chosen.seconds, chosen.rounds))


if __name__ == "__main__":
    main()
