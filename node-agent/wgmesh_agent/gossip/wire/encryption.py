"""The encryption layer: version byte, nonce, AES-GCM ciphertext and tag (gossip-wire section 2.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag

from wgmesh_agent.gossip.errors import DecryptError, GossipError
from wgmesh_agent.gossip.wire.keyring import Keyring

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_BLOCK_BYTES: Final = 16
_PADDED_VERSION: Final = 0
_PLAIN_VERSION: Final = 1

NonceSource = Callable[[int], bytes]
"""Returns that many random bytes: the system's, because a nonce used twice under one key reveals plaintexts."""


def encryption_overhead(version: int) -> int:
    """Maximum number of bytes that this layer adds."""
    padding = _BLOCK_BYTES if version == _PADDED_VERSION else 0
    return 1 + NONCE_BYTES + TAG_BYTES + padding


def check_version(version: int) -> int:
    """Returns `version` if it is 0 (padded, for memberlist protocol 1) or 1; raises GossipError otherwise."""
    if version not in (_PADDED_VERSION, _PLAIN_VERSION):
        raise GossipError(f"encryption version {version} does not exist")
    return version


def encrypted_length(plaintext_bytes: int, version: int) -> int:
    """Returns the length of the layer around that many bytes."""
    padding = _BLOCK_BYTES - plaintext_bytes % _BLOCK_BYTES if version == _PADDED_VERSION else 0
    return 1 + NONCE_BYTES + plaintext_bytes + padding + TAG_BYTES


def encrypt(keyring: Keyring, plaintext: bytes, aad: bytes, nonces: NonceSource, version: int = 1) -> bytes:
    """Encrypts `plaintext` with the primary key. Raises GossipError for an empty plaintext, which crashes old peers."""
    if not plaintext:
        raise GossipError("an empty plaintext crashes old peers; nothing may be sent")
    nonce = nonces(NONCE_BYTES)
    if len(nonce) != NONCE_BYTES:
        raise GossipError(f"the nonce source gave {len(nonce)} bytes instead of {NONCE_BYTES}")
    if check_version(version) == _PADDED_VERSION:
        padding = _BLOCK_BYTES - len(plaintext) % _BLOCK_BYTES
        plaintext += bytes((padding,)) * padding
    return bytes((version,)) + nonce + keyring.primary_cipher.encrypt(nonce, plaintext, aad)


def decrypt(keyring: Keyring, data: bytes, aad: bytes) -> bytes:
    """Decrypts with any key of the keyring, either version. Raises DecryptError."""
    if len(data) <= 1 + NONCE_BYTES + TAG_BYTES:
        raise DecryptError(f"{len(data)} bytes are too few for an encrypted message")
    version = data[0]
    if version > _PLAIN_VERSION:
        raise DecryptError(f"encryption version {version} is unknown")
    nonce, ciphertext = data[1 : 1 + NONCE_BYTES], data[1 + NONCE_BYTES :]
    for number, cipher in enumerate(keyring.ciphers()):
        try:
            plaintext = cipher.decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            if not number:
                keyring.foreign_key_messages += 1
            continue
        return plaintext if version == _PLAIN_VERSION else _unpadded(plaintext)
    raise DecryptError("no key on the ring opens the message")


def _unpadded(plaintext: bytes) -> bytes:
    padding = plaintext[-1]
    if not 1 <= padding <= _BLOCK_BYTES or len(plaintext) <= padding:
        raise DecryptError("an encrypted message with impossible padding")
    return plaintext[:-padding]
