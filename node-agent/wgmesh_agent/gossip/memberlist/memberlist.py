"""memberlist without I/O: datagrams and stream bytes in, datagrams and stream actions out."""

from __future__ import annotations

import random
from collections.abc import Callable

from wgmesh_agent.gossip.errors import GossipError, PeerError
from wgmesh_agent.gossip.memberlist.awareness import Awareness
from wgmesh_agent.gossip.memberlist.broadcast_queue import BroadcastQueue
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.delegate import SerfDelegate
from wgmesh_agent.gossip.memberlist.gossip_tick import GossipTicker
from wgmesh_agent.gossip.memberlist.indirect_ping import IndirectPings, reply_endpoint
from wgmesh_agent.gossip.memberlist.node_table import NodeRecord, NodeTable
from wgmesh_agent.gossip.memberlist.probe import FailureDetector
from wgmesh_agent.gossip.memberlist.push_pull_sync import Outcome, PushPullSync
from wgmesh_agent.gossip.memberlist.quota import Quota
from wgmesh_agent.gossip.memberlist.senders import NoVouching, Speakers, Vouching
from wgmesh_agent.gossip.memberlist.state import MembershipState
from wgmesh_agent.gossip.memberlist.steps import Steps
from wgmesh_agent.gossip.memberlist.streams import Purpose, StreamFailure, Streams
from wgmesh_agent.gossip.memberlist.timers import Timers
from wgmesh_agent.gossip.memberlist.transmit import Datagram, Transmitter
from wgmesh_agent.gossip.wire.encryption import NonceSource
from wgmesh_agent.gossip.wire.endpoint import Endpoint
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Message,
    Nack,
    NodeStateKind,
    Ping,
    PushPull,
    Suspect,
    UserMessage,
    decode,
    encode,
)
from wgmesh_agent.gossip.wire.packet import PacketCodec
from wgmesh_agent.gossip.wire.stream import StreamCodec
from wgmesh_agent.runtime.borders import border

MESSAGES = border("gossip message", "one message of a datagram, UDP on the mesh address")

_MOST_TOLD_OF_STRANGERS = 256
"""Number of messages, which are sent within a minute: long before the members they are about expire."""


class Memberlist:
    """One node of a memberlist cluster; `now` is always monotonic seconds of one clock.

    `keyring` None means plaintext. `nonces` returns fresh random bytes for each encryption.
    """

    def __init__(
        self,
        config: SerfConfig,
        delegate: SerfDelegate,
        timers: Timers,
        rng: random.Random,
        *,
        keyring: Keyring | None,
        nonces: NonceSource,
        vouching: Vouching | None,
    ) -> None:
        profile = config.profile
        self._delegate = delegate
        self._timers = timers
        self._sequence = 0
        self.counters = Counters()
        memory = max(config.reconnect_timeout_seconds, config.tombstone_timeout_seconds)
        self.table = NodeTable(rng, config.max_members, memory, vouching.is_stranger if vouching else None)
        self.speakers = Speakers(self.table, vouching or NoVouching())
        self._queue = BroadcastQueue(lambda: 2 * config.max_members)
        self._of_strangers = BroadcastQueue(lambda: _MOST_TOLD_OF_STRANGERS)
        self._packets = PacketCodec(keyring, config.label, nonces=nonces)
        self.transmitter = Transmitter(self._packets, config.datagram_bytes, self.counters)
        self.transmitter.sources.append((self._queue, self._retransmit_limit))
        self._dissemination = GossipTicker(profile, self.table, timers, self.transmitter)
        self.awareness = Awareness(profile.awareness_max_multiplier)
        self.membership = MembershipState(
            config,
            self.table,
            timers,
            self.awareness,
            self.counters,
            rng,
            delegate,
            self._broadcast,
            self.speakers,
            self._ask,
        )
        steps = Steps(timers)
        waiting = Quota(config.max_waiting_nodes, config.max_waiting_nodes // 2)
        self.streams = Streams(
            StreamCodec(keyring, config.label, nonces=nonces),
            self.counters,
            self._respond,
            steps,
            config.max_streams,
            config.max_stream_buffer_bytes,
            waiting,
        )
        self._indirect = IndirectPings(
            profile.probe_timeout_seconds,
            timers,
            self.transmitter,
            self.counters,
            self._own_ping,
            self.speakers,
        )
        self._prober = FailureDetector(
            profile,
            self.table,
            timers,
            self.membership,
            self.awareness,
            self.transmitter,
            self.counters,
            rng,
            self._own_ping,
            self._stream_ping,
            delegate.ping_completed,
        )
        self._exchange = PushPullSync(
            profile,
            self.table,
            timers,
            self.membership,
            self.counters,
            rng,
            delegate,
            self.speakers,
            steps,
            waiting,
        )
        self._retransmits = profile.retransmit_limit

    def tell_of_strangers_last(self) -> None:
        """All other broadcasts are sent first from now on: changes of invented members never end."""
        self.transmitter.sources.append((self._of_strangers, self._retransmit_limit))

    def forget_strangers(self, now: float) -> bool:
        """Expires members without a binding, and queued broadcasts about them; True if any are left."""

        def is_over(name: str) -> bool:
            record = self.table.get(name)
            return record is None or not self.membership.is_told(record, now)

        are_left = self.membership.forget_strangers(now)
        self._of_strangers.give_up(is_over)
        return are_left

    def start(self, port: int, meta: bytes, now: float) -> None:
        """Starts as alive with this metadata at `port`, probing, gossiping and exchanging states."""
        self.membership.announce(port, meta, now)
        self._dissemination.start(self.membership.own, now)
        self._prober.start(now)
        self._exchange.start(self.streams, now)

    def stop(self) -> None:
        """Stops initiating anything; datagrams and streams are still answered."""
        self._dissemination.stop()
        self._prober.stop()
        self._exchange.stop()

    def join(self, endpoint: Endpoint, outcome: Outcome, now: float) -> None:
        """Exchanges states with a member at `endpoint`, as a joining node."""

        def joined(error: str | None, now: float) -> None:
            if error is None:
                self._exchange.follow_up(self.streams, now)
            outcome(error, now)

        self._exchange.exchange(self.streams, endpoint, Purpose.JOIN, joined, now)

    def leave(self, on_finished: Callable[[], None], now: float) -> None:
        """Leaves; `on_finished` once the leave has been sent often enough."""
        self.membership.leave(now, on_finished)

    def wake(self, now: float) -> None:
        """A message was added to one of the transmitter's queues."""
        self._dissemination.wake(now)

    def send_user(self, payload: bytes, endpoint: Endpoint) -> None:
        """Sends one serf message in a separate datagram."""
        self.transmitter.send([encode(UserMessage(payload))], endpoint)

    def receive_datagram(self, data: bytes, source: Endpoint, now: float) -> None:
        """Handles a datagram; errors in it are counted, never raised."""
        counters = self.counters
        counters.datagrams_in += 1
        counters.bytes_in += len(data)
        try:
            parts = self._packets.decode(data)
        except PeerError as error:
            counters.refuse(f"datagram: {type(error).__name__}")
            return
        for part in parts:
            with MESSAGES.fence(source):
                try:
                    self._handle(decode(part), source, now)
                except PeerError as error:
                    counters.refuse(f"message: {type(error).__name__}")

    def take_datagrams(self) -> list[Datagram]:
        """Returns datagrams to send since the last call."""
        return self.transmitter.take()

    def _handle(self, message: Message, source: Endpoint, now: float) -> None:
        match message:
            case Ping():
                self._answer_ping(message, source)
            case Ack():
                if not (
                    self._prober.acknowledged(message.seq_no, message.payload, source, now)
                    or self._indirect.acknowledged(message.seq_no)
                ):
                    self.counters.refuse("ack: not asked for, or late")
            case UserMessage():
                self._delegate.user_message(message.payload, source, now)
            case Alive():
                self._remind(message)
                self.membership.alive(message, now, source=source)
            case Suspect():
                self.membership.suspect(message, now)
                self._correct(message, source)
            case Dead():
                self.membership.dead(message, now, source=source)
                self._correct(message, source)
            case IndirectPing():
                self._indirect.request(message, source, self.membership.own.port, now)
            case Nack():
                self._prober.refused(message.seq_no)
            case _:
                self.counters.refuse("message: has no place in a datagram")

    def _correct(self, accusation: Suspect | Dead, source: Endpoint) -> None:
        """Sends a node directly the refutation of its claim: it missed that, or queries for it."""
        own = self.membership.own
        if accusation.node == own.name and accusation.incarnation < own.incarnation and not own.gone:
            self.transmitter.send([self.membership.own_statement()], source)

    def _remind(self, claim: Alive) -> None:
        """Notifies a node that it is considered dead: if it has returned, it needs a higher incarnation to be seen."""
        record = self.table.get(claim.node)
        if record is not None and record.gone and claim.incarnation <= record.incarnation:
            if record is self.membership.own or (record.addr, record.port) != (claim.addr, claim.port):
                return
            accuser = record.name if record.state is NodeStateKind.LEFT else self.membership.own.name
            self.transmitter.send([encode(Dead(record.incarnation, record.name, accuser))], record.endpoint)

    def _answer_ping(self, ping: Ping, source: Endpoint) -> None:
        if ping.node and ping.node != self.membership.own.name:
            self.counters.refuse("ping: for another node")
            return
        ack = encode(Ack(ping.seq_no, self._delegate.ack_payload()))
        self.transmitter.send_with_broadcasts(ack, reply_endpoint(ping, source, self.speakers))

    def _respond(
        self, message: Message, source: Endpoint | None, now: float
    ) -> tuple[Message | None, Callable[[float], None] | None]:
        if isinstance(message, PushPull):
            return self._exchange.answer(message, source, now)
        if isinstance(message, Ping):
            if message.node and message.node != self.membership.own.name:
                self.counters.refuse("ping: for another node")
                return None, None
            return Ack(message.seq_no), None
        if isinstance(message, UserMessage):
            self._delegate.user_message(message.payload, source, now)
            return None, None
        raise PeerError(f"a stream may not begin with {type(message).__name__}")

    def _own_ping(self, node: str) -> Ping:
        self._sequence = self._sequence + 1 & 0xFFFFFFFF
        own = self.membership.own
        return Ping(self._sequence, node, own.addr, own.port, own.name)

    def _stream_ping(
        self,
        endpoint: Endpoint,
        ping: Ping,
        deadline: float,
        contacted: Callable[[], None],
        refused: Callable[[float], None],
    ) -> None:
        def replied(message: Message, _now: float) -> None:
            if isinstance(message, Ack) and message.seq_no == ping.seq_no:
                contacted()

        def failed(failure: StreamFailure, now: float) -> None:
            if failure.refused:
                refused(now)

        try:
            self.streams.open(endpoint, ping, Purpose.PING, deadline, replied, failed)
        except GossipError:
            self.counters.refuse("stream: ping could not be built")

    def _ask(self, record: NodeRecord, claim: bytes) -> None:
        """Sends a member the claim about it: if it is alive, it answers at once."""
        self.transmitter.send([claim], record.endpoint)

    def _broadcast(
        self, about: str, message: bytes, now: float, on_finished: Callable[[], None] | None = None
    ) -> None:
        if not self.transmitter.fits_queue(message):
            self.counters.refuse("broadcast: too large for a datagram")
            if on_finished is not None:
                on_finished()
            return
        queue = self._of_strangers if self.speakers.is_stranger(about) else self._queue
        queue.add(message, about, on_finished)
        self._dissemination.wake(now)

    def _retransmit_limit(self) -> int:
        return self._retransmits(len(self.table))

    @property
    def others_reachable(self) -> bool:
        """Returns whether any other node is alive or suspect."""
        return self.table.reachable > (not self.membership.own.gone)

    @property
    def own(self) -> NodeRecord:
        """This node's own record."""
        return self.membership.own
