"""Address claims among bootstrap nodes: the query `_claim`, and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.serf.events import QueryReceived
from wgmesh_agent.mesh.membership.admissions import AdmissionService
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.peer_codec import PeerMessageError, claim_from_peer, peer_message
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.runtime.clock import Clock
from wgmesh_api.meshservice_pb2 import Peer

log = structlog.get_logger()
CLAIM_QUERY = "_claim"
ADDRESS_FREE, ADDRESS_TAKEN = b"\x01", b"\x00"
SECONDS = 0.5
TRIES = 2
CLAIMS = border("address claim", "`_claim` queries of other bootstrap nodes, and their answers")


class Promises(Protocol):
    """Reserves addresses for other bootstrap nodes; `Registrar` implements it."""

    def reserve(self, claim: Claim, now: float, asker: str) -> bool:
        """Reserves the claim's addresses for a while from `now` (monotonic seconds), on behalf of the bootstrap node
        `asker`; False if they are not free.
        """


class AddressClaimResponder:
    """Answers queries of other bootstrap nodes about an address."""

    def __init__(
        self, admissions: AdmissionService, rejections: RejectionLog, promises: Promises, clock: Clock
    ) -> None:
        self._admissions = admissions
        self._rejections = rejections
        self._promises = promises
        self._clock = clock

    def answer(self, request: QueryReceived) -> bytes | None:
        """Answers only bootstrap nodes, by the source address of the query: any other member could reserve all
        addresses.
        """
        asker = request.source_member
        if asker is None or asker != request.source_node:
            CLAIMS.reject(
                "not_direct", request.source_node, "the query did not come from the member that it names"
            )
            return None
        if not self._admissions.may_admit(asker):
            CLAIMS.reject("no_role", asker, "it claims an address, and is not known as a bootstrap node")
            return None
        try:
            claim = claim_from_peer(Peer.FromString(request.payload))
        except (DecodeError, PeerMessageError) as error:
            self._rejections.record("malformed_claim", str(error))
            return None
        return (
            ADDRESS_FREE if self._promises.reserve(claim, self._clock.monotonic(), asker) else ADDRESS_TAKEN
        )


class AddressClaimQuery:
    """Queries the other bootstrap nodes before this one assigns an address."""

    def __init__(self, members: MemberView, admissions: AdmissionService) -> None:
        self._members = members
        self._admissions = admissions

    async def ask(self, claim: Claim, others: Sequence[str]) -> bool:
        """Whether no other bootstrap node has promised an address of the claim to another key.

        They are queried directly, and once more: an answer goes only to the node that sent the query itself, and one
        may be lost.
        """
        silent, payload = set(others), peer_message(claim).SerializeToString()
        for _ in range(TRIES):
            if not silent:
                return True
            try:
                result = await self._members.query(
                    CLAIM_QUERY, payload, nodes=sorted(silent), direct=True, timeout=SECONDS
                )
            except GossipError as error:
                log.warning("address query to bootstrap nodes failed", error=str(error))
                return True
            for name, answer in result.responses.items():
                if answer != ADDRESS_TAKEN or name not in silent:
                    continue
                if self._admissions.may_admit(name):
                    return False
                CLAIMS.reject(
                    "no_role", name, "it reports an address as taken, and is not known as a bootstrap node"
                )
            silent -= set(result.responses)
        if silent:
            log.warning(
                "bootstrap nodes did not answer", nodes=sorted(silent), address=str(claim.addresses[0])
            )
        return True
