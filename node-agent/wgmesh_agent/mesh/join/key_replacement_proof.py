"""Proof that a joiner with a different WireGuard key holds the private key under which it was a member.

A certificate alone cannot take over the name of a live machine: two machines may have the same one. So the joiner
proves that it is that very machine by a MAC over the whole request and the join token's JWT, which is valid for one
request. Both sides derive its key by X25519 from the member's earlier key and the bootstrap node's WireGuard key.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey

_CONTEXT = b"wgmesh replace 1\0"


def make_proof(
    own: PrivateKey, other: PublicKey, new: PublicKey, *, mesh: str, node: str, authorization: str
) -> bytes:
    """32 bytes, equal on both sides: `own` is the member's earlier key or the bootstrap node's, `other` the other's.

    Args:
        new: the requested key.
        authorization: the join's metadata, as sent.

    Raises:
        ValueError: `other` is not the public key of any private key.
    """
    shared = X25519PrivateKey.from_private_bytes(own.raw).exchange(
        X25519PublicKey.from_public_bytes(other.raw)
    )
    key = HKDF(hashes.SHA256(), 32, salt=None, info=_CONTEXT).derive(shared)
    parts = (mesh.encode(), node.encode(), new.raw, authorization.encode())
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(key, message, hashlib.sha256)


def verify_proof(
    given: bytes,
    own: PrivateKey,
    other: PublicKey,
    new: PublicKey,
    *,
    mesh: str,
    node: str,
    authorization: str,
) -> bool:
    """Whether `given` is the proof, compared in constant time."""
    try:
        wanted = make_proof(own, other, new, mesh=mesh, node=node, authorization=authorization)
    except ValueError:
        return False
    return hmac.compare_digest(given, wanted)
