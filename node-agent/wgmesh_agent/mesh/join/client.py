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
"""Of all peers that one answer names: 1 KiB for each, which a record with its certificate takes."""
CALL_SECONDS = 10.0
LAST_UNIX_SECONDS = 221_845_392_000
"""The year 9000: what is later, `datetime` and the command line cannot print."""
CLOSED = ("socket closed", "connection reset", "broken pipe", "eof")


class JoinRefused(Exception):
    """A bootstrap node said no; its words."""


class JoinUnreachable(Exception):
    """A bootstrap node did not answer, or not as one does."""


@dataclass(frozen=True, slots=True)
class JoinResult:
    """What a joiner learns.

    Attributes:
        node: the name it was admitted under.
        addresses: its mesh addresses, the primary one first.
        ranges: the mesh's ranges, the primary one first.
        created_unix: when the mesh was made.
        gossip_keys: the key ring, each of 16, 24 or 32 bytes, that which encrypts first; empty: plaintext gossip.
        gossip_keys_since: unix seconds; of two rings of one mesh the later one holds. 0: not told.
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
    """Joins by one bootstrap node at `address:port`. `routes` are networks behind this node that it asks to announce.

    Args:
        at: the addresses of a bootstrap node that is named.
        secret_ids: of the secrets for pre-shared keys that this node holds, the newest first.
        replaces: the key that this machine was a member with, which `public_key` takes the place of.
        own_key: that of `public_key`, to prove possession of it where the certificate does not name this node: the
            bootstrap node may have bound the key already, and a public key alone proves nothing.
        before_joining: awaited when the bootstrap node has begun, right before it is asked to admit.

    Raises:
        JoinRefused: it said no.
        JoinUnreachable: no connection, a failed TLS handshake, or an answer that makes no sense.
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
    """The key to prove possession of; None if the certificate names this node, or the bootstrap node takes no proof."""
    is_named = tls is not None and parse_pem(tls.files.certificate)[0].identity is not None
    return None if is_named or not handshake.replacesKeys else own_key


async def _own_key(stub: MeshStub, handshake: HandshakeResponse) -> PublicKey:
    """The bootstrap node's WireGuard key. Raises JoinRefused if it replaces no keys."""
    if not handshake.replacesKeys:
        raise JoinRefused("it is of an earlier version, and replaces no keys")
    async for peer in stub.Peers(Empty(), timeout=CALL_SECONDS):
        try:
            return claim_from_peer(peer).public_key
        except PeerMessageError as error:
            raise JoinUnreachable(f"its answer makes no sense: {error}") from error
    raise JoinUnreachable("its answer makes no sense: it does not name itself")


async def peers_of(
    bootstrap: str, tls: Credentials | None, own_key: PublicKey, *, at: Sequence[IPAddress] = ()
) -> tuple[Claim, ...]:
    """The members as one bootstrap node knows them, itself first, without this node.

    Args:
        at: the addresses of a bootstrap node that is named.

    Raises:
        JoinUnreachable: no connection, a failed TLS handshake, or an answer that makes no sense.
    """
    async with _channel(bootstrap, tls, at) as channel:
        try:
            return await _peers(MeshStub(channel), own_key)  # type: ignore[no-untyped-call]
        except grpc.aio.AioRpcError as error:
            raise JoinUnreachable(describe_error(error, tls)) from error


def _channel(bootstrap: str, tls: Credentials | None, at: Sequence[IPAddress] = ()) -> grpc.aio.Channel:
    """To one of the addresses `at`. gRPC's own resolver would ask name servers for what a hosts file does not say, such
    as an IPv6 address, and wait 6 s for one that is not there.
    """
    host, _, port = bootstrap.rpartition(":")
    options: list[tuple[str, int | str]] = [
        ("grpc.enable_retries", 0),
        # A proxy of the host is for its package manager: a bootstrap node is asked straight.
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", 64 * 1024),
        # A connection of its own: channels to one address would share one, and the streams that it may have.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    target = _target(at, port) if at else bootstrap
    if tls is None:
        return grpc.aio.insecure_channel(target, options=[*options, ("grpc.default_authority", bootstrap)])
    named = tls.server_name or host.removeprefix("[").removesuffix("]")
    options.append(("grpc.ssl_target_name_override", named))
    return grpc.aio.secure_channel(target, tls.channel(), options=options)


def _target(at: Sequence[IPAddress], port: str) -> str:
    """gRPC's name for several addresses, which it tries in turn. It wants one family: IPv4 is mapped into IPv6."""
    if all(address.version == 4 for address in at):
        return "ipv4:" + ",".join(f"{address}:{port}" for address in at)
    texts = (str(address) if address.version == 6 else f"::ffff:{address}" for address in at)
    return "ipv6:" + ",".join(f"[{text}]:{port}" for text in texts)


async def _peers(stub: MeshStub, own_key: PublicKey) -> tuple[Claim, ...]:
    claims: list[Claim] = []
    count = size = left_out = 0
    why = ""
    # The call's own timeout, not asyncio's: it then ends with an AioRpcError like every other failure.
    async for peer in stub.Peers(Empty(), timeout=CALL_SECONDS):
        count, size = count + 1, size + peer.ByteSize()
        if count > MAX_PEERS or size > MAX_PEERS_BYTES:
            raise JoinUnreachable(
                f"it names more than {MAX_PEERS} peers, or in more than {MAX_PEERS_BYTES} bytes"
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
        raise JoinUnreachable(f"its answer makes no sense: {error}") from error
    node = response.nodeName or asked_for or default_node_name(mesh, addresses[0])
    profile = response.gossipProfile or ("lan" if response.serfModeLAN else "wan")
    port = response.gossipPort or ORIGINAL_GOSSIP_PORT
    wrong = (
        (any(len(key) not in KEY_LENGTHS for key in keys), "a gossip key of odd length"),
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
            raise JoinUnreachable(f"its answer makes no sense: it names {what}")
    return JoinResult(
        node, addresses, ranges, response.creationTS, keys, profile, port, peers,
        response.requiresAdmission, admission, response.gossipKeysSince,
    )  # fmt: skip


def describe_error(error: grpc.aio.AioRpcError, tls: Credentials | None) -> str:
    """One sentence for the joiner's user."""
    details = (error.details() or "").strip()
    lowered = details.lower()
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "it did not answer in time"
    if "hostname verification" in lowered:
        return "its certificate does not name the address it was asked at: ask it at one that it names"
    if "certificate" in lowered or "ssl" in lowered or "handshake" in lowered:
        return (
            "the TLS handshake failed: check that both certificates come from the same authority, "
            f"are still valid, and that the bootstrap node's names this address ({details[:200]})"
        )
    if tls is not None and any(sign in lowered for sign in CLOSED):
        # TLS 1.3: our certificate is judged when our side of the handshake is long done, and nothing says why.
        return f"it closed the connection: does it trust {_own_certificate(tls)}? ({details[:200]})"
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        # gRPC strings its layers together with colons; the last one says what happened.
        return f"no connection: {details.rpartition(': ')[2][:200].lower() or 'it gave no reason'}"
    return f"{error.code().name.lower()}: {details[:200]}"


def _own_certificate(tls: Credentials) -> str:
    leaf = tls.files.leaf()
    name, end = leaf.subject.rfc4514_string(), leaf.not_valid_after_utc
    validity = f"expired on {end:%Y-%m-%d}" if end < datetime.now(UTC) else f"is valid until {end:%Y-%m-%d}"
    return f"this node's certificate {name}, which {validity}"
