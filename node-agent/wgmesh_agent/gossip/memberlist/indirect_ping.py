"""The indirect ping service: pings a third node on behalf of a member that cannot reach it (gossip-wire §7.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.memberlist.senders import Speakers
from wgmesh_agent.gossip.memberlist.timers import Timer, Timers
from wgmesh_agent.gossip.memberlist.transmit import Transmitter
from wgmesh_agent.gossip.wire.endpoint import Endpoint, endpoint_of
from wgmesh_agent.gossip.wire.messages import Ack, IndirectPing, Nack, Ping, encode

_MOST_PENDING = 1024


@dataclass(frozen=True, slots=True)
class _PendingPing:
    requester: Endpoint
    seq_no: int
    timer: Timer


class IndirectPings:
    """Pings on behalf of others that await an ACK, by this node's sequence number."""

    def __init__(
        self,
        probe_timeout_seconds: float,
        timers: Timers,
        transmitter: Transmitter,
        counters: Counters,
        own_ping: Callable[[str], Ping],
        speakers: Speakers,
    ) -> None:
        self._probe_timeout_seconds = probe_timeout_seconds
        self._timers = timers
        self._transmitter = transmitter
        self._counters = counters
        self._own_ping = own_ping
        self._speakers = speakers
        self._errands: dict[int, _PendingPing] = {}

    def request(self, message: IndirectPing, source: Endpoint, default_port: int, now: float) -> None:
        """Pings the target on behalf of `source`. Raises PeerError for a malformed address."""
        if len(self._errands) >= _MOST_PENDING:
            self._counters.refuse("indirect ping: too many pending")
            return
        target = endpoint_of(message.target, message.port or default_port)
        if not self._speakers.is_member(target):
            self._counters.refuse("indirect ping: of no member")
            return
        requester = reply_endpoint(message, source, self._speakers)
        ping = self._own_ping(message.node)

        def give_up(now: float) -> None:
            del self._errands[ping.seq_no]
            if message.nack:
                self._transmitter.send_with_broadcasts(encode(Nack(message.seq_no)), requester)

        timer = self._timers.at(now + self._probe_timeout_seconds, give_up)
        self._errands[ping.seq_no] = _PendingPing(requester, message.seq_no, timer)
        self._transmitter.send_with_broadcasts(encode(ping), target)

    def acknowledged(self, seq_no: int) -> bool:
        """Forwards an ACK; False if it belongs to none of these pings."""
        errand = self._errands.pop(seq_no, None)
        if errand is None:
            return False
        errand.timer.cancel()
        self._transmitter.send_with_broadcasts(encode(Ack(errand.seq_no, b"")), errand.requester)
        return True


def reply_endpoint(message: Ping | IndirectPing, source: Endpoint, speakers: Speakers) -> Endpoint:
    """Returns the destination of the answer: the address the sender names, if a member has it, else the datagram's
    source."""
    if message.source_addr and message.source_port:
        named = endpoint_of(message.source_addr, message.source_port)
        if speakers.is_member(named):
            return named
    return source
