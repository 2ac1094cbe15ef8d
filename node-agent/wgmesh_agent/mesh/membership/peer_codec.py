"""Conversion between the wire's Peer message and a claim."""

from __future__ import annotations

from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord, InvalidAdmission
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.secret_ids import split_ids
from wgmesh_agent.wireguard.keys import InvalidKeyError, PublicKey
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.meshservice_pb2 import JoinResponse, Peer
from wgmesh_api.values import parse_address

MAX_ADDRESSES = 8


class PeerMessageError(Exception):
    """A malformed Peer message; names the field."""


def peer_message(claim: Claim, kind: Peer.AnnouncementType = Peer.JOIN) -> Peer:
    """The message that announces this claim; peers of the original read its first five fields."""
    endpoint = claim.endpoints[0] if claim.endpoints else None
    return Peer(
        type=kind,
        pubkey=str(claim.public_key),
        endpointIP=str(endpoint.address) if endpoint else "",
        endpointPort=endpoint.port if endpoint else 0,
        meshIP=str(claim.addresses[0]),
        nodeName=claim.node,
        meshIPs=[str(address) for address in claim.addresses] if len(claim.addresses) > 1 else [],
        bootstrap=claim.bootstrap,
        admission=claim.admission.message() if claim.admission else None,
        secretIds=None if claim.secret_ids is None else b"".join(claim.secret_ids),
    )


def claim_from_peer(peer: Peer) -> Claim:
    """The claim in a Peer message from the network.

    Raises:
        PeerMessageError: key, address or endpoint is malformed.
    """
    try:
        key = PublicKey.from_base64(peer.pubkey)
    except InvalidKeyError as error:
        raise PeerMessageError(f"public key {peer.pubkey!r:.60}: {error}") from error
    texts = list(peer.meshIPs) or [peer.meshIP]
    if len(texts) > MAX_ADDRESSES:
        raise PeerMessageError(f"{len(texts)} mesh addresses, more than {MAX_ADDRESSES}")
    try:
        addresses = tuple(parse_address(text) for text in texts)
        endpoints = (Endpoint.reported(peer.endpointIP, peer.endpointPort),) if peer.endpointIP else ()
        admission = admission_from(peer)
        secret_ids = split_ids(peer.secretIds) if peer.HasField("secretIds") else None
    except (ValueError, InvalidAdmission) as error:
        raise PeerMessageError(f"peer {key}: {error}") from error
    return Claim(peer.nodeName, key, addresses, endpoints, peer.bootstrap, admission, secret_ids=secret_ids)


def admission_from(message: Peer | JoinResponse) -> AdmissionRecord | None:
    """The admission record in a message, None if none. Raises InvalidAdmission if it is malformed."""
    return AdmissionRecord.from_message(message.admission) if message.HasField("admission") else None
