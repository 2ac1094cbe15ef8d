"""The joiner's side: Begin, Join, Peers against one of several bootstrap nodes."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network

import grpc
import structlog

from wgmesh_agent.gossip.wire.keyring import KEY_LENGTHS, MAX_KEYS
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.join.key_replacement_proof import make_proof
from wgmesh_agent.mesh.join.tokens import sign
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord, InvalidAdmission
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.names import default_node_name
from wgmesh_agent.mesh.membership.peer_codec import PeerMessageError, admission_from, claim_from_peer
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress
from wgmesh_api.addresses import is_usable_host
from wgmesh_api.meshservice_pb2 import Empty, HandshakeRequest, HandshakeResponse, JoinRequest, JoinResponse
from wgmesh_api.meshservice_pb2_grpc import MeshStub
from wgmesh_api.names import is_node_name
from wgmesh_api.parsed_certificate import parse_pem
from wgmesh_api.values import bounded, parse_address, parse_network

log = structlog.get_logger()
ORIGINAL_GOSSIP_PORT = 5353
PROFILES = ("lan", "wan", "local")
MAX_PEERS = 20_000
MAX_PEERS_BYTES = 20 << 20
"""Of all peers in one response: 1 KiB for each, the size of a record with its certificate."""
CALL_SECONDS = 10.0
LAST_UNIX_SECONDS = 221_845_392_000
"""The year 9000: `datetime` and the command line cannot print later times."""
CLOSED = ("socket closed", "connection reset", "broken pipe", "eof")


class JoinRefused(Exception):
    """A bootstrap node denied the request; its message."""


class JoinUnreachable(Exception):
    """A bootstrap node did not respond, or not with a valid response."""


@dataclass(frozen=True, slots=True)
class JoinResult:
    """What a joiner learns.

    Attributes:
        node: the name under which it was admitted.
        addresses: its mesh addresses, the primary one first.
        ranges: the mesh's ranges, the primary one first.
        created_unix: when the mesh was created.
        gossip_keys: the keyring, each of 16, 24 or 32 bytes, the primary key first; empty: plaintext gossip.
        gossip_keys_since: unix seconds; of two keyrings of one mesh the later one counts. 0: unknown.
        profile: lan, wan or local.
        gossip_port: UDP and TCP, on mesh addresses.
        peers: the members, the bootstrap node first.
        requires_admission: whether gossip binds a member only with an admission record.
        admission: this node's own record; None without TLS.
    """

    node: str
    addresses: tuple[IPAddress, ...]
    ranges: tuple[IPv4Network | IPv6Network, ...]
    created_unix: int
    gossip_keys: tuple[bytes, ...] = field(repr=False)
    profile: str
    gossip_port: int
    peers: tuple[Claim, ...]
    requires_admission: bool = False
    admission: AdmissionRecord | None = None
    gossip_keys_since: int = 0


async def join(
    bootstrap: str,
    tls: Credentials | None,
    *,
    mesh: str,
    node: str,
    public_key: PublicKey,
    endpoint: Endpoint,
    at: Sequence[IPAddress] = (),
    routes: Sequence[IPv4Network | IPv6Network] = (),
    secret_ids: Sequence[bytes] = (),
    replaces: PrivateKey | None = None,
    own_key: PrivateKey | None = None,
    before_joining: Callable[[], Awaitable[None]] | None = None,
) -> JoinResult:
    """Joins via one bootstrap node at `address:port`. `routes` are the networks behind this node that it requests to
    advertise.

    Args:
        at: the addresses of a bootstrap node given by name.
        secret_ids: of the secrets for pre-shared keys that this node holds, the newest first.
        replaces: the key under which this machine was a member, which `public_key` replaces.
        own_key: that of `public_key`, to prove possession of it if the certificate does not name this node: the
            bootstrap node may have bound the key already, and a public key alone proves nothing.
        before_joining: awaited after Begin, right before the admission is requested.

    Raises:
        JoinRefused: the bootstrap node denied it.
        JoinUnreachable: no connection, a failed TLS handshake, or a malformed response.
    """
    async with _channel(bootstrap, tls, at) as channel:
        stub = MeshStub(channel)  # type: ignore[no-untyped-call]
        try:
            handshake = await stub.Begin(HandshakeRequest(meshName=mesh), timeout=CALL_SECONDS)
            if handshake.result != HandshakeResponse.OK:
                raise JoinRefused(handshake.errorMessage or "it gave no reason")
            request = JoinRequest(
                pubkey=str(public_key),
                endpointIP=str(endpoint.address),
                endpointPort=endpoint.port,
                meshName=mesh,
                nodeName=node,
                routes=[str(route) for route in routes],
                secretIds=b"".join(secret_ids),
            )
            held = replaces or _to_prove(own_key, tls, handshake)
            bootstrap_key = await _own_key(stub, handshake) if held is not None else None
            if before_joining is not None:
                await before_joining()
            authorization = sign(handshake.joinToken, time.time())
            if held is not None and bootstrap_key is not None:
                request.replaces = held.public().raw
                request.replacesProof = make_proof(
                    held, bootstrap_key, public_key, mesh=mesh, node=node, authorization=authorization
                )
            metadata = (("authorization", authorization),)
            response = await stub.Join(request, metadata=metadata, timeout=CALL_SECONDS)
            if response.result != JoinResponse.OK:
                raise JoinRefused(response.errorMessage or "it gave no reason")
            peers = await _peers(stub, public_key)
        except grpc.aio.AioRpcError as error:
            raise JoinUnreachable(describe_error(error, tls)) from error
    return _admitted(response, mesh, node, peers)


def _to_prove(
    own_key: PrivateKey | None, tls: Credentials | None, handshake: HandshakeResponse
) -> PrivateKey | None:
    """The key whose possession to prove; None if the certificate names this node, or the bootstrap node accepts no
    proof.
    """
    is_named = tls is not None and parse_pem(tls.files.certificate)[0].identity is not None
    return None if is_named or not handshake.replacesKeys else own_key


async def _own_key(stub: MeshStub, handshake: HandshakeResponse) -> PublicKey:
    """The bootstrap node's WireGuard key. Raises JoinRefused if it cannot replace keys."""
    if not handshake.replacesKeys:
        raise JoinRefused("it runs an earlier version that cannot replace keys")
    async for peer in stub.Peers(Empty(), timeout=CALL_SECONDS):
        try:
            return claim_from_peer(peer).public_key
        except PeerMessageError as error:
            raise JoinUnreachable(f"malformed response: {error}") from error
    raise JoinUnreachable("malformed response: it contains no entry of the bootstrap node itself")


async def peers_of(
    bootstrap: str, tls: Credentials | None, own_key: PublicKey, *, at: Sequence[IPAddress] = ()
) -> tuple[Claim, ...]:
    """The members known to one bootstrap node, itself first, without this node.

    Args:
        at: the addresses of a bootstrap node given by name.

    Raises:
        JoinUnreachable: no connection, a failed TLS handshake, or a malformed response.
    """
    async with _channel(bootstrap, tls, at) as channel:
        try:
            return await _peers(MeshStub(channel), own_key)  # type: ignore[no-untyped-call]
        except grpc.aio.AioRpcError as error:
            raise JoinUnreachable(describe_error(error, tls)) from error


def _channel(bootstrap: str, tls: Credentials | None, at: Sequence[IPAddress] = ()) -> grpc.aio.Channel:
    """A channel to one of the addresses `at`. gRPC's own resolver would query name servers for names that a hosts file
    resolves in one family only, such as an IPv6 address, and wait 6 s for one that does not respond.
    """
    host, _, port = bootstrap.rpartition(":")
    options: list[tuple[str, int | str]] = [
        ("grpc.enable_retries", 0),
        # The host's proxy is for its package manager: a bootstrap node is called directly.
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", 64 * 1024),
        # A separate connection: channels to one address would share one, and its limit of streams.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    target = _target(at, port) if at else bootstrap
    if tls is None:
        return grpc.aio.insecure_channel(target, options=[*options, ("grpc.default_authority", bootstrap)])
    named = tls.server_name or host.removeprefix("[").removesuffix("]")
    options.append(("grpc.ssl_target_name_override", named))
    return grpc.aio.secure_channel(target, tls.channel(), options=options)


def _target(at: Sequence[IPAddress], port: str) -> str:
    """gRPC's target for several addresses, which it tries in turn. It requires one family: IPv4 is mapped into IPv6."""
    if all(address.version == 4 for address in at):
        return "ipv4:" + ",".join(f"{address}:{port}" for address in at)
    texts = (str(address) if address.version == 6 else f"::ffff:{address}" for address in at)
    return "ipv6:" + ",".join(f"[{text}]:{port}" for text in texts)


async def _peers(stub: MeshStub, own_key: PublicKey) -> tuple[Claim, ...]:
    claims: list[Claim] = []
    count = size = left_out = 0
    why = ""
    # The call's own timeout instead of asyncio's: it ends with an AioRpcError like every other failure.
    async for peer in stub.Peers(Empty(), timeout=CALL_SECONDS):
        count, size = count + 1, size + peer.ByteSize()
        if count > MAX_PEERS or size > MAX_PEERS_BYTES:
            raise JoinUnreachable(
                f"the response contains more than {MAX_PEERS} peers, or more than {MAX_PEERS_BYTES} bytes"
            )
        if peer.pubkey == str(own_key):
            continue
        try:
            claims.append(claim_from_peer(peer))
        except PeerMessageError as error:
            left_out, why = left_out + 1, why or str(error)
    if left_out:
        log.warning("malformed peers ignored", how_many=left_out, error=why)
    return tuple(claims)


def _admitted(response: JoinResponse, mesh: str, asked_for: str, peers: tuple[Claim, ...]) -> JoinResult:
    try:
        addresses = tuple(parse_address(a) for a in response.meshIPs or [response.joiningNodeMeshIP])
        ranges = tuple(
            parse_network(c, cut_host_bits=True) for c in response.meshCidrs or [response.meshCidr]
        )
        for seconds in (response.creationTS, response.gossipKeysSince):
            bounded(seconds, 0, LAST_UNIX_SECONDS)
        texts = dict.fromkeys(text for text in (response.serfEncryptionKey, *response.gossipKeys) if text)
        keys = tuple(base64.b64decode(text, validate=True) for text in texts)
        admission = admission_from(response)
    except (ValueError, binascii.Error, InvalidAdmission) as error:
        raise JoinUnreachable(f"malformed response: {error}") from error
    node = response.nodeName or asked_for or default_node_name(mesh, addresses[0])
    profile = response.gossipProfile or ("lan" if response.serfModeLAN else "wan")
    port = response.gossipPort or ORIGINAL_GOSSIP_PORT
    wrong = (
        (any(len(key) not in KEY_LENGTHS for key in keys), "a gossip key of invalid length"),
        (len(keys) > MAX_KEYS, f"more than {MAX_KEYS} gossip keys"),
        (profile not in PROFILES, f"the unknown gossip profile {profile!r:.20}"),
        (not 0 < port < 65536, f"the gossip port {port}"),
        (not is_node_name(node), f"the node name {node!r:.80}"),
        (
            not all(any(is_usable_host(a, n) for n in ranges) for a in addresses),
            "an address outside the mesh's ranges",
        ),
    )
    for is_wrong, what in wrong:
        if is_wrong:
            raise JoinUnreachable(f"malformed response: it contains {what}")
    return JoinResult(
        node,
        addresses,
        ranges,
        response.creationTS,
        keys,
        profile,
        port,
        peers,
        response.requiresAdmission,
        admission,
        response.gossipKeysSince,
    )


def describe_error(error: grpc.aio.AioRpcError, tls: Credentials | None) -> str:
    """One sentence for the joining user."""
    details = (error.details() or "").strip()
    lowered = details.lower()
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "it did not respond in time"
    if "hostname verification" in lowered:
        return "its certificate does not cover the address it was called at: use one that it covers"
    if "certificate" in lowered or "ssl" in lowered or "handshake" in lowered:
        return (
            "the TLS handshake failed: check that both certificates are issued by the same CA, are still "
            f"valid, and that the bootstrap node's certificate covers this address ({details[:200]})"
        )
    if tls is not None and any(sign in lowered for sign in CLOSED):
        # TLS 1.3: the server verifies our certificate after our side of the handshake has completed, and reports no
        # reason.
        return f"it closed the connection: check that it trusts {_own_certificate(tls)} ({details[:200]})"
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        # gRPC joins the errors of its layers with colons; the last one is the cause.
        return f"no connection: {details.rpartition(': ')[2][:200].lower() or 'it gave no reason'}"
    return f"{error.code().name.lower()}: {details[:200]}"


def _own_certificate(tls: Credentials) -> str:
    leaf = tls.files.leaf()
    name, end = leaf.subject.rfc4514_string(), leaf.not_valid_after_utc
    validity = f"expired on {end:%Y-%m-%d}" if end < datetime.now(UTC) else f"is valid until {end:%Y-%m-%d}"
    return f"this node's certificate {name}, which {validity}"
