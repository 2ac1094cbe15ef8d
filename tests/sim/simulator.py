"""A cluster in virtual time: the real gossip cores, joined by a network that misbehaves on request.

Everything that happens is drawn from one seed. No clock is read and nothing sleeps: a minute of a quiet cluster of
fifty takes about a second.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from wgmesh_agent.gossip.memberlist.config import LAN, Profile, SerfConfig
from wgmesh_agent.gossip.memberlist.senders import Vouching
from wgmesh_agent.gossip.memberlist.streams import CloseStream, OpenStream, WriteStream
from wgmesh_agent.gossip.serf.events import SerfEvent
from wgmesh_agent.gossip.serf.serf import Serf
from wgmesh_agent.gossip.wire.endpoint import Endpoint
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus

PORT = 7946


@dataclass(slots=True)
class Weather:
    """Treatment of datagrams by the network: shares 0..1, delays in seconds. Streams only suffer delay and cuts.

    A node needs `work` seconds for each received one; `room` others are queued during that time, and the rest is lost.
    """

    latency: float = 0.002
    jitter: float = 0.001
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    work: float = 0.0
    room: int = 200


@dataclass(slots=True)
class Node:
    """One simulated process. `log` has its notifications with their times."""

    name: str
    core: Serf
    endpoint: Endpoint
    running: bool = True
    scheduled: float | None = None
    stalled_until: float = 0.0
    busy_until: float = 0.0
    log: list[tuple[float, SerfEvent]] = field(default_factory=list)

    def statuses(self) -> dict[str, MemberStatus]:
        """Its view of all nodes."""
        return {name: member.status for name, member in self.core.members().items()}

    def heard(self, kind: type[Any]) -> list[Any]:
        """Its notifications of one kind."""
        return [notification for _, notification in self.log if isinstance(notification, kind)]


class Simulator:
    """Nodes, network and virtual time."""

    def __init__(
        self,
        seed: int,
        *,
        profile: Profile = LAN,
        key: bytes | None = None,
        vouching: Vouching | None = None,
        **settings: Any,
    ) -> None:
        self.seed = seed
        self.now = 0.0
        self.weather = Weather()
        self.nodes: dict[str, Node] = {}
        self.datagrams = 0
        self._rng = random.Random(seed)
        self._profile = profile
        self._key = key
        self._vouching = vouching
        self._settings: Mapping[str, Any] = settings
        self._by_endpoint: dict[Endpoint, Node] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._streams: dict[tuple[str, int], tuple[str, int]] = {}

    # Cluster

    def add(self, name: str, *, tags: Mapping[str, str] | None = None, **settings: Any) -> Node:
        """Start a node, alone; a name used before comes back as a new process at its old address."""
        old = self.nodes.get(name)
        address = IPv4Address("10.0.0.1") + len(self.nodes) if old is None else old.endpoint.address
        config = SerfConfig(name, address, PORT, self._profile, tags or {}, **{**self._settings, **settings})
        keyring = None if self._key is None else Keyring(self._key)
        rng = random.Random(self._rng.getrandbits(64))
        core = Serf(config, keyring=keyring, rng=rng, nonces=rng.randbytes, vouching=self._vouching)
        node = Node(name, core, Endpoint(address, PORT))
        self.nodes[name] = node
        self._by_endpoint[node.endpoint] = node
        core.start(self.now)
        self.pump(node)
        return node

    def cluster(self, size: int, **settings: Any) -> list[Node]:
        """`size` nodes n0, n1, … that all join n0 within a second; not yet converged."""
        nodes = [self.add(f"n{index}", **settings) for index in range(size)]
        for node in nodes[1:]:
            self.at(self.now + self._rng.random(), partial(self.join, node, nodes[0]))
        return nodes

    def join(self, node: Node, via: Node, **options: Any) -> None:
        """Have `node` join the cluster of `via`."""
        node.core.join(via.endpoint, self.now, **options)
        self.pump(node)

    def kill(self, node: Node) -> None:
        """As SIGKILL: it says nothing more, connections to it are refused."""
        node.running = False

    def stall(self, node: Node, seconds: float) -> None:
        """It handles no received message for so long; its timers keep running."""
        node.stalled_until = self.now + seconds

    def do(self, node: Node, action: Callable[[Serf], object]) -> None:
        """Run something on a node's core, and send what comes of it."""
        action(node.core)
        self.pump(node)

    # Network

    def partition(self, *sides: Iterable[Node]) -> None:
        """Nothing passes between nodes of different sides."""
        groups = [[node.name for node in side] for side in sides]
        for group in groups:
            for other in groups:
                if other is not group:
                    self._blocked.update((a, b) for a in group for b in other)

    def cut(self, source: Node, target: Node) -> None:
        """Nothing passes from `source` to `target`; the other way still works."""
        self._blocked.add((source.name, target.name))

    def heal(self) -> None:
        """All paths are open again."""
        self._blocked.clear()

    # Time

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Schedule something."""
        self._count += 1
        heapq.heappush(self._queue, (when, self._count, action))

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self._step()
        self.now = end

    def run_until(self, condition: Callable[[], bool], within: float, what: str) -> float:
        """Let time pass until `condition` holds, checked every 50 ms; returns how long it took.

        Raises AssertionError with the seed if it does not within that many virtual seconds.
        """
        start = self.now
        while not condition():
            assert self.now - start <= within, f"not within {within} s: {what} (seed {self.seed})"
            self.run(0.05)
        return self.now - start

    def _step(self) -> None:
        when, _, action = heapq.heappop(self._queue)
        self.now = max(self.now, when)
        action()

    def pump(self, node: Node) -> None:
        """Carry out what a core asks for."""
        core = node.core
        for data, endpoint in core.datagrams_to_send():
            self._send(node, data, endpoint)
        for action in core.stream_actions():
            match action:
                case OpenStream():
                    self._open(node, action)
                case WriteStream(stream_id, payload):
                    self._reply(node, stream_id, payload)
                case CloseStream(stream_id):
                    self._hang_up(node, stream_id)
        node.log += [(self.now, notification) for notification in core.events()]
        due = core.next_timer()
        if due is not None and (node.scheduled is None or due < node.scheduled):
            node.scheduled = due
            self.at(due, lambda: self._wake(node, due))

    def _handled(self, node: Node, action: Callable[[], None]) -> None:
        """Has it happen when the node handles what arrives."""
        if node.stalled_until > self.now:
            self.at(node.stalled_until, lambda: self._handled(node, action))
        else:
            action()

    def _in_turn(self, node: Node, action: Callable[[], None]) -> None:
        """Has it happen when the node is through with what came before, if there is room to wait."""
        work = self.weather.work
        waits = max(node.busy_until, node.stalled_until) - self.now
        if waits <= 0 or not work:
            node.busy_until = self.now + work
            self._handled(node, action)
        elif waits <= self.weather.room * work:
            node.busy_until = self.now + waits + work
            self.at(self.now + waits, action)

    def _wake(self, node: Node, due: float) -> None:
        if node.running and node.scheduled == due:
            node.scheduled = None
            node.core.handle_timers(self.now)
            self.pump(node)

    def _passes(self, source: Node, target: Node) -> bool:
        return (source.name, target.name) not in self._blocked

    def _delay(self) -> float:
        return self.weather.latency + self._rng.random() * self.weather.jitter

    def _send(self, source: Node, data: bytes, endpoint: Endpoint) -> None:
        self.datagrams += 1
        weather, rng = self.weather, self._rng
        target = self._by_endpoint.get(endpoint)
        if target is None or not self._passes(source, target) or rng.random() < weather.loss:
            return
        copies = 2 if rng.random() < weather.duplication else 1
        for _ in range(copies):
            late = 20 * weather.latency * rng.random() if rng.random() < weather.reordering else 0.0
            self.at(
                self.now + self._delay() + late,
                lambda: self._in_turn(target, lambda: self._arrive(source, target, data)),
            )

    def _arrive(self, source: Node, target: Node, data: bytes) -> None:
        if target.running:
            target.core.receive_datagram(data, source.endpoint, self.now)
            self.pump(target)

    # Streams: bytes arrive whole or in two pieces, retransmission of lost segments shows as delay

    def _segment_delay(self) -> float:
        delay, timeout = self._delay(), 0.2
        while self._rng.random() < self.weather.loss and timeout < 60:
            delay += timeout
            timeout *= 2
        return delay

    def _open(self, source: Node, action: OpenStream) -> None:
        target = self._by_endpoint.get(action.endpoint)

        def fail(reason: str, refused: bool = False) -> None:
            if source.running:
                source.core.stream_closed(action.stream_id, reason, self.now, refused=refused)
                self.pump(source)

        self.at(action.deadline, lambda: fail("timed out"))
        if target is None or not self._passes(source, target) or not self._passes(target, source):
            return

        def connect() -> None:
            if not target.running:
                self.at(self.now + self._delay(), lambda: fail("connection refused", refused=True))
                return
            stream_id = target.core.stream_accepted()
            if stream_id is None:
                self.at(self.now + self._delay(), lambda: fail("connection closed"))
                return
            self._streams[target.name, stream_id] = (source.name, action.stream_id)
            cut = self._rng.randrange(len(action.payload)) if self._rng.random() < 0.2 else 0
            for piece in (action.payload[:cut], action.payload[cut:]):
                if piece:
                    target.core.stream_received(stream_id, piece, self.now)
            self.pump(target)

        self.at(self.now + 3 * self._segment_delay(), lambda: self._handled(target, connect))

    def _reply(self, source: Node, stream_id: int, payload: bytes) -> None:
        name, initiator_stream = self._streams.pop((source.name, stream_id))
        target = self.nodes[name]

        def deliver() -> None:
            if target.running and self._passes(source, target):
                target.core.stream_received(initiator_stream, payload, self.now)
                self.pump(target)

        self.at(self.now + self._segment_delay(), lambda: self._handled(target, deliver))

    def _hang_up(self, source: Node, stream_id: int) -> None:
        other = self._streams.pop((source.name, stream_id), None)
        if other is not None:
            target = self.nodes[other[0]]

            def end() -> None:
                if target.running:
                    target.core.stream_closed(other[1], "closed by the peer", self.now)
                    self.pump(target)

            self.at(self.now + self._delay(), end)

    # What tests ask

    def running(self) -> list[Node]:
        """The nodes not killed."""
        return [node for node in self.nodes.values() if node.running]

    def agree(self, expected: Mapping[str, MemberStatus], among: Iterable[Node] | None = None) -> bool:
        """Whether all (running) nodes have exactly these members and statuses."""
        return all(node.statuses() == expected for node in (self.running() if among is None else among))

    def all_alive(self) -> bool:
        """Whether every running node reports every running node alive, and no other."""
        names = {node.name for node in self.running()}
        return all(
            {name for name, status in node.statuses().items() if status is MemberStatus.ALIVE} == names
            for node in self.running()
        )

    def with_weather(self, **changes: Any) -> None:
        """Change the network's behaviour from now on."""
        self.weather = replace(self.weather, **changes)
