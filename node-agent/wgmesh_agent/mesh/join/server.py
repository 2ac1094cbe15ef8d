"""The Mesh gRPC service of a bootstrap node."""

from __future__ import annotations

import base64
import errno
from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol

import grpc
import structlog

from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.credentials import Credentials, caller_of
from wgmesh_agent.mesh.grpc_peer import caller_of_inner
from wgmesh_agent.mesh.join.connection_limiter import MAX_CONNECTIONS, ConnectionFront, most_connections
from wgmesh_agent.mesh.join.decision import DenialReason, Denied
from wgmesh_agent.mesh.join.key_replacement_proof import verify_proof
from wgmesh_agent.mesh.join.registrar import Registrar
from wgmesh_agent.mesh.join.tokens import TokenError, TokenStore
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.membership.peer_codec import peer_message
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.runtime.task_set import TaskSet
from wgmesh_agent.wireguard.keys import InvalidKeyError, PublicKey
from wgmesh_api.identity import IdentityError
from wgmesh_api.meshservice_pb2 import (
    Empty,
    HandshakeRequest,
    HandshakeResponse,
    JoinRequest,
    JoinResponse,
    Peer,
)
from wgmesh_api.meshservice_pb2_grpc import MeshServicer, add_MeshServicer_to_server
from wgmesh_api.parsed_certificate import UnreadableCertificate

log = structlog.get_logger()
MAX_MESSAGE_BYTES = 64 * 1024
MAX_STREAMS = 64
"""Concurrent calls of one connection; a join has one."""
HANDSHAKE_SECONDS = 10.0
"""For TLS and HTTP/2 settings. A connection without a certificate ends here."""
Context = grpc.aio.ServicerContext[Any, Any]


class Vouching(Protocol):
    """Adds admission records to the members this node reports; `AdmissionService` implements it."""

    required: bool
    """Whether members are bound with records only."""

    def local_record(self) -> Claim:
        """This node's own claim, with its record."""

    def record_for_peer(self, claim: Claim) -> Claim:
        """A member's claim with a record to forward."""


class MeshService(MeshServicer):
    """Implements Begin, Join and Peers. Every denial is sent to the joiner as a sentence, and logged."""

    def __init__(
        self,
        local: LocalNode,
        registrar: Registrar,
        tokens: TokenStore,
        admissions: Vouching,
        rejections: RejectionLog,
        clock: Clock,
    ) -> None:
        self._local = local
        self._registrar = registrar
        self._tokens = tokens
        self._admissions = admissions
        self._rejections = rejections
        self._clock = clock
        self._joining = TaskSet(_admission_failed)

    async def Begin(self, request: HandshakeRequest, context: Context) -> HandshakeResponse:
        try:
            caller = _caller(context)
            if request.meshName != self._local.record.mesh:
                text = f"this bootstrap node serves a mesh other than {request.meshName!r:.40}"
                raise Denied(DenialReason.WRONG_MESH, text)
            self._registrar.require_listed(caller)
            token = self._tokens.issue(caller.holder, self._clock.monotonic())
        except (Denied, TokenError) as error:
            self._refuse(error, _peer(context), "")
            return HandshakeResponse(result=HandshakeResponse.ERROR, errorMessage=str(error))
        return HandshakeResponse(result=HandshakeResponse.OK, joinToken=token, replacesKeys=True)

    async def Join(self, request: JoinRequest, context: Context) -> JoinResponse:
        try:
            caller = _caller(context)
            self._tokens.redeem(_authorization(context), caller.holder, self._clock.monotonic())
            proven = self._proven(request, _authorization(context) or "")
            # A started admission is completed even if the caller does not wait: it binds, programs and announces.
            binding = await self._joining.outlive(
                self._registrar.admit(
                    request, caller, now=self._clock.monotonic(), now_unix=self._clock.unix(), proven=proven
                ),
                "admission",
            )
        except (Denied, TokenError) as error:
            self._refuse(error, _peer(context), request.nodeName)
            return JoinResponse(result=JoinResponse.ERROR, errorMessage=str(error))
        claim = self._admissions.record_for_peer(binding.claim)
        log.info(
            "admitted",
            node=claim.node,
            addresses=[str(a) for a in claim.addresses],
            pubkey=str(claim.public_key),
        )
        record = self._local.record
        ring = [base64.b64encode(key).decode() for key in record.gossip_keys]
        return JoinResponse(
            result=JoinResponse.OK,
            joiningNodeMeshIP=str(claim.addresses[0]),
            meshCidr=str(record.ranges[0]),
            creationTS=record.created_unix,
            serfEncryptionKey=ring[0] if ring else "",
            serfModeLAN=record.profile != "wan",
            meshIPs=[str(address) for address in claim.addresses],
            meshCidrs=[str(network) for network in record.ranges],
            gossipPort=record.gossip_port,
            gossipProfile=record.profile,
            nodeName=claim.node,
            admission=claim.admission.message() if claim.admission else None,
            requiresAdmission=self._admissions.required,
            gossipKeys=ring,
            gossipKeysSince=record.gossip_keys_since,
        )

    async def Peers(self, request: Empty, context: Context) -> AsyncIterator[Peer]:
        try:
            self._registrar.require_listed(_caller(context))
        except Denied as error:
            self._refuse(error, _peer(context), "")
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        yield peer_message(self._admissions.local_record())
        for binding in list(self._registrar.members()):
            yield peer_message(self._admissions.record_for_peer(binding.claim))

    def _proven(self, request: JoinRequest, authorization: str) -> PublicKey | None:
        """The previous key whose possession the caller proves; None without a proof. Raises Denied."""
        if not request.replaces:
            return None
        try:
            old, new = PublicKey(request.replaces), PublicKey.from_base64(request.pubkey)
        except InvalidKeyError as error:
            raise Denied(DenialReason.BAD_KEY, f"the public key is not a WireGuard key: {error}") from error
        if verify_proof(
            request.replacesProof,
            self._local.private_key,
            old,
            new,
            mesh=request.meshName,
            node=request.nodeName,
            authorization=authorization,
        ):
            return old
        raise Denied(DenialReason.PROOF, "no proof that this machine holds the previous key it claims")

    def _refuse(self, error: Denied | TokenError, peer: str, node: str) -> None:
        reason = error.reason if isinstance(error, Denied) else DenialReason.TOKEN
        self._rejections.counts.update([f"join_{reason.value}"])
        log.warning("join denied", reason=reason.value, error=str(error), peer=peer, node=node[:80])


def _admission_failed(_name: str, error: Exception) -> None:
    if not isinstance(error, Denied):
        log.error("admission failed", error=repr(error), exc_info=error)


def _caller(context: Context) -> Caller:
    try:
        return caller_of(context.auth_context(), _peer(context))
    except (IdentityError, UnreadableCertificate) as error:
        raise Denied(DenialReason.WRONG_IDENTITY, f"malformed certificate: {error}") from error


def _peer(context: Context) -> str:
    """The caller's address and port, `ipv4:10.0.0.2:4711`."""
    return caller_of_inner(context.peer())


def _authorization(context: Context) -> str | None:
    metadata: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str):
            return value
    return None


class MeshServer:
    """The gRPC server of a bootstrap node, behind its connection limiter."""

    def __init__(self, server: grpc.aio.Server, front: ConnectionFront) -> None:
        self._server = server
        self._front = front

    async def stop(self, grace: float | None) -> None:
        """Accepts no new connections, gives calls `grace` seconds, and ends the rest."""
        self._front.stop_listening()
        await self._server.stop(grace)
        await self._front.close()


async def serve(service: MeshService, bind: str, tls: Credentials | None) -> MeshServer:
    """Starts the server on `address:port`.

    Raises:
        OSError: the port cannot be bound.
    """
    front = ConnectionFront(most_connections())
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_SECONDS * 1000)),
            ("grpc.max_allowed_incoming_connections", 2 * MAX_CONNECTIONS),
        ],
        maximum_concurrent_rpcs=1024,
    )
    add_MeshServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    try:
        if tls is None:
            server.add_insecure_port(front.inner)
        else:
            server.add_secure_port(front.inner, tls.server())
    except RuntimeError as error:
        raise OSError(errno.EINVAL, f"gRPC cannot listen behind {bind}: {error}") from error
    await server.start()
    try:
        await front.start(bind)
    except OSError as error:
        await server.stop(None)
        if error.errno != errno.EADDRINUSE:
            raise
        raise OSError(
            errno.EADDRINUSE, f"cannot listen on {bind}: check whether another program uses that port"
        ) from error
    return MeshServer(server, front)
