"""The gossip keys of a cluster: the primary encrypts, all of them decrypt (gossip-wire sections 2.2, 8.5)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import KeyringError

KEY_LENGTHS: Final = (16, 24, 32)
"""Bytes of a key: AES-128, AES-192, AES-256."""


class Keyring:
    """Keys in order, the primary first. Not one of them appears in a repr, an error or a log line."""

    def __init__(self, primary: bytes, others: Iterable[bytes] = ()) -> None:
        self._ciphers: dict[bytes, AESGCM] = {}
        for key in (primary, *others):
            self.install(key)

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._ciphers)} keys>"

    @property
    def primary(self) -> bytes:
        """The key that encrypts."""
        return next(iter(self._ciphers))

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All keys, the primary first."""
        return tuple(self._ciphers)

    def install(self, key: bytes) -> None:
        """Add `key` for decryption; no change if it is there. Raises KeyringError for a wrong length."""
        if len(key) not in KEY_LENGTHS:
            raise KeyringError(f"key size must be 16, 24 or 32 bytes, not {len(key)}")
        key = bytes(key)
        if key not in self._ciphers:
            self._ciphers[key] = AESGCM(key)

    def use(self, key: bytes) -> None:
        """Make an installed key the primary. Raises KeyringError if it is not installed."""
        cipher = self._ciphers.pop(bytes(key), None)
        if cipher is None:
            raise KeyringError("requested key is not in the keyring")
        self._ciphers = {bytes(key): cipher, **self._ciphers}

    def remove(self, key: bytes) -> None:
        """Take `key` off the ring; one that is not there is no error. Raises KeyringError for the primary."""
        if bytes(key) == self.primary:
            raise KeyringError("removing the primary key is not allowed")
        self._ciphers.pop(bytes(key), None)

    def list(self) -> tuple[str, ...]:
        """All keys in base64, the primary first, as a key response carries them."""
        return tuple(encode_key(key) for key in self._ciphers)

    @property
    def primary_cipher(self) -> AESGCM:
        """AES-GCM under the primary key."""
        return next(iter(self._ciphers.values()))

    def ciphers(self) -> Iterator[AESGCM]:
        """AES-GCM under each key, the primary first."""
        return iter(self._ciphers.values())


def encode_key(key: bytes) -> str:
    """A key as users and key responses write it."""
    return base64.b64encode(key).decode("ascii")


def decode_key(text: str) -> bytes:
    """The key in `text`, base64 of 16, 24 or 32 bytes. Raises KeyringError, which does not show the text."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise KeyringError("a gossip key must be base64") from None
    if len(key) not in KEY_LENGTHS:
        raise KeyringError(f"a gossip key must be base64 of 16, 24 or 32 bytes, not of {len(key)}")
    return key
