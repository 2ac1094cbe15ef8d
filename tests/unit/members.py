"""Fakes of gossip and probes for tests: their members and answers, without sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.memberlist.counters import Counters
from wgmesh_agent.gossip.serf.events import Member, QueryResult
from wgmesh_agent.gossip.wire.endpoint import IPAddress
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.probing.liveness import LinkState
from wgmesh_agent.mesh.probing.path_mtu import PathMTU
from wgmesh_agent.mesh.probing.service import ProbeService

UNUSED_ADDRESS = ip_address("10.232.255.1")
"""Of members of which only the name matters."""


def gossip_member(
    name: str,
    address: IPAddress = UNUSED_ADDRESS,
    tags: Mapping[str, str] | None = None,
    status: MemberStatus = MemberStatus.ALIVE,
) -> Member:
    """One as gossip has it."""
    return Member(name, address, 7946, tags or {}, status, 1, b"", 0.0)


@dataclass(frozen=True, slots=True)
class Question:
    """A query that was sent."""

    name: str
    payload: bytes
    nodes: Sequence[str] | None
    relay_factor: int
    direct: bool


class PlayedGossip(GossipNode):
    """Has the members of `table`; `answers` are those of the next queries, the last one repeated.

    Attributes:
        asked: the queries so far.
        events_sent: the user events so far.
        rtts: seconds to members.
        joined: attempted joins; `join_faults`: the exceptions of the next ones.
    """

    def __init__(self, *names: str) -> None:
        self.table = {name: gossip_member(name) for name in names}
        self.answers: list[Mapping[str, bytes] | Exception] = []
        self.asked: list[Question] = []
        self.events_sent: list[tuple[str, bytes]] = []
        self.rtts: dict[str, float] = {}
        self.joined: list[IPAddress] = []
        self.join_faults: list[Exception] = []

    @property
    def counters(self) -> Counters:
        return Counters()

    def members(self) -> Mapping[str, Member]:
        return self.table

    def member(self, name: str) -> Member | None:
        return self.table.get(name)

    def rtt(self, a: str, b: str | None = None) -> float | None:
        return self.rtts.get(a)

    def user_event(self, name: str, payload: bytes, *, coalesce: bool = False) -> None:
        self.events_sent.append((name, payload))

    async def join(
        self, addresses: Sequence[tuple[IPAddress, int]], *, ignore_old_events: bool = True
    ) -> int:
        self.joined += [address for address, _ in addresses]
        if self.join_faults:
            raise self.join_faults.pop(0)
        return len(addresses)

    async def query(
        self,
        name: str,
        payload: bytes = b"",
        *,
        nodes: Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
        ack: bool = False,
        relay_factor: int = 0,
        timeout: float | None = None,
        enough: Callable[[bytes], bool] | None = None,
        direct: bool = False,
    ) -> QueryResult:
        self.asked.append(Question(name, payload, nodes, relay_factor, direct))
        if not self.answers:
            raise GossipError("no")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return QueryResult(frozenset(answer), frozenset(), answer)


class PlayedProbing(ProbeService):
    """Links as the test says; `asked_now` notes who was to answer at once."""

    period_seconds = 2.0

    def __init__(self) -> None:
        self.heard: dict[str, LinkState] = {}
        self.asked_now: list[IPAddress] = []

    def links(self) -> dict[str, LinkState]:
        return self.heard

    def path_mtus(self) -> dict[str, PathMTU]:
        return {}

    def probe_now(self, addresses: Iterable[IPAddress]) -> None:
        self.asked_now += addresses

    def on_member_change(self, address: IPAddress, *, failed: bool) -> None:
        """No member is probed."""
