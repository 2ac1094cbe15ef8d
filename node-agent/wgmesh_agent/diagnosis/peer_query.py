"""The `_doctor` query: asks members what they observe of a peer, and answers the same question.

A query spreads via all members, and some of them forward the answers: so the far end is queried, and answers, even if
the link to it is down. Its answer is a member's claim, and trusted no further.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog
from google.protobuf.message import DecodeError

from wgmesh_agent.diagnosis.link_sources import LinkSources
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.membership.query_rate_limit import AnswerLimit
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.wireguard.keys import InvalidKeyError, PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint, Peer
from wgmesh_api.agent_pb2 import LinkView

log = structlog.get_logger()
DOCTOR_QUERY = "_doctor"
MIN_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS = 2.0, 6.0
"""For answers, in units of the time in which gossip reaches all members."""
NAMES_BYTES = 600
"""Total bytes of names in one query, which may have 1,024 bytes."""
MAX_ANSWERS_PER_SECOND = 10.0
RELAYS = 3
STATUSES = frozenset(status.name.lower() for status in MemberStatus)


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """A member's answer. Its clock is ahead of this node's by `clock_offset_msec`, or behind if negative, give or take
    `clock_error_msec`.
    """

    view: LinkView
    clock_offset_msec: int
    clock_error_msec: int


class PeerQuery:
    """Queries about single links, and answers to them, of one session; answers each member at most ten times a
    second.
    """

    def __init__(self, sources: LinkSources, credentials: Credentials | None, clock: Clock) -> None:
        self._sources = sources
        self._credentials = credentials
        self._clock = clock
        self._limit = AnswerLimit(MAX_ANSWERS_PER_SECOND)

    async def answer_query(self, request: QueryReceived) -> bytes | None:
        """Answers the query `_doctor`: this node's view of the given member."""
        if not self._limit.allows(request, self._clock.monotonic()):
            return None
        view = self._own(request.payload.decode("ascii", "replace"), (await self._sources.read_device())[0])
        return view.SerializeToString()

    async def ask(self, about: str, nodes: Sequence[str]) -> dict[str, PeerAnswer]:
        """The views of the member `about`, from each of `nodes` that answers."""
        answers = await asyncio.gather(*(self._ask(about, group) for group in batches(nodes)))
        return {name: answer for some in answers for name, answer in some.items()}

    async def _ask(self, about: str, nodes: Sequence[str]) -> dict[str, PeerAnswer]:
        begun, clock = self._clock.monotonic(), self._clock.unix()
        alive = len(self.alive())
        patience = self._sources.gossip.config.profile.query_timeout_seconds(alive) / 3
        seconds = min(MAX_TIMEOUT_SECONDS, max(MIN_TIMEOUT_SECONDS, patience))
        try:
            result = await self._sources.gossip.query(
                DOCTOR_QUERY,
                about.encode(),
                nodes=list(nodes),
                relay_factor=min(RELAYS, alive),
                timeout=seconds,
            )
        except GossipError as error:
            log.warning("peer query failed", about=about, error=str(error))
            return {}
        took = self._clock.monotonic() - begun
        found = {}
        for name, answer in result.responses.items():
            if name not in nodes:
                continue
            try:
                view = validated(LinkView.FromString(answer))
            except DecodeError as error:
                self._sources.rejections.record(
                    "malformed_doctor_answer", f"malformed answer of {name}: {error}"
                )
                continue
            view.nodeName = name
            middle = round((clock + took / 2) * 1000)
            found[name] = PeerAnswer(view, view.clockMsec - middle, round(took * 500))
        return found

    def alive(self) -> list[str]:
        """All other members that gossip reports alive."""
        return sorted(set(self._sources.members.alive()) - {self._sources.local.node})

    def _own(self, about: str, device: Device) -> LinkView:
        node = self._sources
        binding, link = node.ledger.by_name(about), node.probing.links().get(about)
        member = node.gossip.member(about)
        peer = device.peers.get(binding.claim.public_key) if binding is not None else None
        certificate = self._credentials.files.leaf() if self._credentials is not None else None
        return LinkView(
            clockMsec=round(self._clock.unix() * 1000),
            interfacePubkey=str(device.public_key or ""),
            peerKey=str(peer.public_key) if peer is not None else "",
            endpoint=str(peer.endpoint or "") if peer is not None else "",
            handshakeMsecAgo=msec(handshake_age(peer, self._clock.unix()) if peer is not None else None),
            rxBytes=peer.rx_bytes if peer is not None else 0,
            txBytes=peer.tx_bytes if peer is not None else 0,
            heard=link is not None and link.receiving,
            heardMsecAgo=msec(link.last_received_seconds_ago if link is not None else None),
            status=member.status.name.lower() if member is not None else "",
            certificateNotAfter=round(certificate.not_valid_after_utc.timestamp()) if certificate else 0,
            addressChanges=node.flaps.count(about),
        )


def batches(names: Iterable[str]) -> list[list[str]]:
    """The names in chunks, each of which fits a query."""
    found: list[list[str]] = []
    room = 0
    for name in names:
        size = len(name.encode()) + 3
        if not found or size > room:
            found.append([])
            room = NAMES_BYTES
        found[-1].append(name)
        room -= size
    return found


def validated(view: LinkView) -> LinkView:
    """A member's answer without its invalid parts."""
    found = LinkView()
    found.CopyFrom(view)
    for name in ("interfacePubkey", "peerKey"):
        try:
            PublicKey.from_base64(getattr(view, name))
        except (InvalidKeyError, ValueError):
            setattr(found, name, "")
    try:
        Endpoint.parse(view.endpoint)
    except ValueError:
        found.endpoint = ""
    if view.status not in STATUSES:
        found.status = ""
    return found


def handshake_age(peer: Peer, now_unix: float) -> float | None:
    """Seconds since the last handshake; None for never."""
    return now_unix - peer.last_handshake if peer.last_handshake else None


def msec(seconds: float | None) -> int:
    """-1 for None."""
    return -1 if seconds is None else max(0, round(seconds * 1000))
