"""One core on a bench: a table, timers and a membership whose every broadcast and report is written down."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from wgmesh_agent.gossip.memberlist.awareness import Awareness
from wgmesh_agent.gossip.memberlist.config import LAN, SerfConfig
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.node_table import NodeRecord, NodeTable
from wgmesh_agent.gossip.memberlist.senders import NoVouching, Speakers, Vouching
from wgmesh_agent.gossip.memberlist.state import MembershipState
from wgmesh_agent.gossip.memberlist.timers import Timers
from wgmesh_agent.gossip.serf.serf import Serf
from wgmesh_agent.gossip.wire.endpoint import Endpoint, IPAddress
from wgmesh_agent.gossip.wire.messages import Alive, Message, NodeStateKind, decode, encode
from wgmesh_agent.gossip.wire.packet import PacketCodec
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS

PORT = 7946


def address(index: int) -> bytes:
    """10.0.0.index, as advertised."""
    return (IPv4Address("10.0.0.0") + index).packed


def endpoint(index: int) -> Endpoint:
    """Where node `index` listens."""
    return Endpoint(IPv4Address("10.0.0.0") + index, PORT)


def alive(name: str, incarnation: int = 1, index: int | None = None, **changes: Any) -> Alive:
    """An alive message of node `nI` at 10.0.0.I."""
    index = int(name[1:]) if index is None else index
    values: dict[str, Any] = {"addr": address(index), "port": PORT, "meta": b"", "vsn": OWN_VERSIONS}
    return Alive(incarnation, name, **{**values, **changes})


@dataclass(frozen=True, slots=True)
class Bound:
    """Vouches for one name at one address."""

    name: str
    address: IPAddress

    def is_vouched_for(self, name: str) -> bool:
        """Whether it is that name."""
        return name == self.name

    def is_stranger(self, name: str) -> bool:
        """Whether it is another name."""
        return name != self.name

    def holder(self, address: IPAddress) -> str | None:
        """The name, for that address."""
        return self.name if address == self.address else None


@dataclass(slots=True)
class Bench:
    """The membership of n1, with the delegate's reports in `told` and the broadcasts in `said`."""

    told: list[tuple[str, str]] = field(default_factory=list)
    asked: list[tuple[str, Message]] = field(default_factory=list)
    said: list[Message] = field(default_factory=list)
    now: float = 0.0
    timers: Timers = field(default_factory=Timers)
    counters: Counters = field(default_factory=Counters)
    awareness: Awareness = field(default_factory=lambda: Awareness(8))
    finished: list[Callable[[], None]] = field(default_factory=list)
    table: NodeTable = field(init=False)
    membership: MembershipState = field(init=False)

    def __post_init__(self) -> None:
        rng = random.Random(1)
        self.table = NodeTable(rng, 64, 3600.0)
        config = SerfConfig("n1", IPv4Address("10.0.0.1"), PORT, LAN, max_members=64)
        self.membership = MembershipState(
            config,
            self.table,
            self.timers,
            self.awareness,
            self.counters,
            rng,
            self,
            self._broadcast,
            Speakers(self.table, NoVouching()),
            lambda record, claim: self.asked.append((record.name, decode(claim))),
        )
        self.membership.announce(PORT, b"", 0.0)
        self.clear()

    def _broadcast(
        self, about: str, message: bytes, now: float, on_finished: Callable[[], None] | None = None
    ) -> None:
        decoded = decode(message)
        assert getattr(decoded, "node", None) == about
        self.said.append(decoded)
        if on_finished is not None:
            self.finished.append(on_finished)

    def node_joined(self, record: NodeRecord, now: float) -> None:
        self.told.append(("joined", record.name))

    def node_updated(self, record: NodeRecord, now: float) -> None:
        self.told.append(("updated", record.name))

    def node_left(self, record: NodeRecord, now: float) -> None:
        self.told.append(("left", record.name))

    def node_forgotten(self, record: NodeRecord, now: float) -> None:
        self.told.append(("forgotten", record.name))

    def name_conflict(self, record: NodeRecord, claimant: Endpoint, now: float) -> None:
        self.told.append(("conflict", record.name))

    def clear(self) -> None:
        """Clears the recorded messages and events."""
        self.told.clear()
        self.said.clear()

    def with_nodes(self, count: int) -> Bench:
        """n2 … up to `count` nodes in all, alive with incarnation 1."""
        for index in range(2, count + 1):
            self.membership.alive(alive(f"n{index}"), 0.0)
        self.clear()
        return self

    def record(self, name: str) -> NodeRecord:
        """The record of a node that must be there."""
        record = self.table.get(name)
        assert record is not None
        return record

    def state(self, name: str) -> NodeStateKind:
        """A node's state."""
        return self.record(name).state

    def pass_time(self, until: float) -> None:
        """Let deadlines fire up to a time."""
        while (due := self.timers.next_deadline()) is not None and due <= until:
            self.now = due
            self.timers.run_due(due)
        self.now = until


class Loner:
    """A whole core n1, whose peers are played by the test: what it sends is decoded and kept by destination."""

    def __init__(self, seed: int = 1, vouching: Vouching | None = None, **settings: Any) -> None:
        rng = random.Random(seed)
        config = SerfConfig("n1", IPv4Address("10.0.0.1"), PORT, **{"profile": LAN, **settings})
        self.core = Serf(config, keyring=None, rng=rng, nonces=rng.randbytes, vouching=vouching)
        self.codec = PacketCodec(None)
        self.now = 0.0
        self.wakes = 0
        self.sent: list[tuple[Endpoint, Message, float]] = []
        self.datagrams: list[tuple[Endpoint, bytes]] = []
        self.actions: list[Any] = []
        self.events: list[Any] = []
        self.core.start(0.0)
        self._drain()

    def hear(self, *messages: Message | bytes, source: int = 2) -> None:
        """A datagram from 10.0.0.source arrives."""
        parts = [part if isinstance(part, bytes) else encode(part) for part in messages]
        self.core.receive_datagram(self.codec.encode(parts), endpoint(source), self.now)
        self._drain()

    def know(self, count: int) -> Loner:
        """n2 … up to `count` nodes in all are alive."""
        for index in range(2, count + 1):
            self.hear(alive(f"n{index}"))
        return self

    def pass_time(self, seconds: float) -> None:
        """Let timers fire, each at its own time."""
        end = self.now + seconds
        while (due := self.core.next_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.wakes += 1
            self.core.handle_timers(self.now)
            self._drain()
        self.now = end

    def do(self, action: Callable[[Serf], Any]) -> Any:
        """Ask something of the core."""
        result = action(self.core)
        self._drain()
        return result

    def feed(self, stream_id: int, data: bytes) -> None:
        """Bytes arrive on a stream."""
        self.core.stream_received(stream_id, data, self.now)
        self._drain()

    def of(self, kind: type[Any]) -> list[tuple[Endpoint, Any, float]]:
        """What it has sent of one kind: destination, message, time."""
        return [entry for entry in self.sent if isinstance(entry[1], kind)]

    def clear(self) -> None:
        """Clears the recorded datagrams and events."""
        self.sent.clear()
        self.datagrams.clear()
        self.actions.clear()
        self.events.clear()

    def _drain(self) -> None:
        for data, destination in self.core.datagrams_to_send():
            self.datagrams.append((destination, data))
            for part in self.codec.decode(data):
                self.sent.append((destination, decode(part), self.now))
        self.actions += self.core.stream_actions()
        self.events += self.core.events()
