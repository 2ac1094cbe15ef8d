"""What an observer on the wire sees: packets on an interface of a node, and their content."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from tests.kind.kubectl import wait_for
from tests.kind.nodes import Node

TCP, UDP = 6, 17
TRANSPORT_DATA = 4
"""WireGuard's type of message that carries packets; 1 to 3 are handshakes and cookies."""
_READY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Packet:
    """An IPv4 packet. `ports`: of UDP or TCP, else none; `payload`: what follows UDP's header, or else IP's."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    ports: frozenset[int]
    payload: bytes

    def is_wireguard(self, port: int) -> bool:
        """Whether it is a WireGuard message between two ends that both use `port`."""
        kind, reserved = self.payload[:1], self.payload[1:4]
        return (
            self.protocol == UDP
            and self.ports == {port}
            and kind in (b"\1", b"\2", b"\3", b"\4")
            and reserved == bytes(3)
        )

    def is_data(self, port: int, size: int) -> bool:
        """Whether it is WireGuard around packets that come to `size` bytes with its 32 around them."""
        return self.is_wireguard(port) and self.payload[0] == TRANSPORT_DATA and len(self.payload) == size

    def __str__(self) -> str:
        return f"{self.source} > {self.destination} protocol {self.protocol} ports {sorted(self.ports)}"


def read(raw: bytes) -> Packet | None:
    """None for what is not IPv4."""
    if len(raw) < 20 or raw[0] >> 4 != 4:
        return None
    header, protocol = (raw[0] & 0xF) * 4, raw[9]
    has_ports = protocol in (TCP, UDP)
    ports = {int.from_bytes(raw[header + at : header + at + 2], "big") for at in (0, 2)} if has_ports else ()
    return Packet(
        IPv4Address(raw[12:16]),
        IPv4Address(raw[16:20]),
        protocol,
        frozenset(ports),
        raw[header + (8 if protocol == UDP else 0) :],
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """Raw packets by node: on the wire between nodes, and inside the mesh; and the underlay's addresses."""

    wire: dict[str, list[bytes]]
    inside: dict[str, list[bytes]]
    underlay: dict[str, str]

    def between_nodes(self, node: str) -> list[Packet]:
        """Those on this node's wire that go from one node's own address to another's."""
        own = set(self.underlay.values())
        packets = [packet for raw in self.wire[node] if (packet := read(raw)) is not None]
        return [one for one in packets if {str(one.source), str(one.destination)} <= own]


@contextmanager
def captured(node: Node, interface: str, log: Path) -> Iterator[list[bytes]]:
    """Fills the list with what went over an interface of the node, when the block is done."""
    script = Path(__file__).with_name("capture.py")
    raw: list[bytes] = []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*node.enter(), sys.executable, str(script), interface], stdout=output, start_new_session=True
        )
    try:
        wait_for(
            lambda: log.read_text().startswith("ready\n"), _READY_SECONDS, f"{node.name} shows {interface}"
        )
        yield raw
    finally:
        process.terminate()
        process.wait(_READY_SECONDS)
    raw.extend(bytes.fromhex(line) for line in log.read_text().split()[1:])
