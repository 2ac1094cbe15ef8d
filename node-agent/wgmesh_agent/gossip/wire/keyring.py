"""The gossip keys of a cluster: the primary encrypts, all of them decrypt (gossip-wire sections 2.2, 8.5)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wgmesh_agent.gossip.errors import KeyringError

KEY_LENGTHS: Final = (16, 24, 32)
"""Bytes of a key: AES-128, AES-192, AES-256."""
MAX_KEYS: Final = 16
"""In one keyring: any holder of a key can install others, and each is tried for a message that none before it
decrypts."""


class Keyring:
    """Keys in order, the primary first. None of them appears in a repr, an error or a log line."""

    def __init__(
        self,
        primary: bytes,
        others: Iterable[bytes] = (),
        keep: Callable[[tuple[bytes, ...]], None] | None = None,
    ) -> None:
        """Args:
        keep: called with the future content of the keyring, the primary first, before it takes effect and before
          any response; raises KeyringError if that cannot be stored, and the keyring does not change."""
        for key in (primary, *others):
            _check(key)
        self._ciphers = {bytes(key): AESGCM(key) for key in (primary, *others)}
        self._keep = keep
        self.foreign_key_messages = 0
        """Number of messages since start that the primary key did not decrypt: another member uses another one."""

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._ciphers)} keys>"

    @property
    def primary(self) -> bytes:
        """The encryption key."""
        return next(iter(self._ciphers))

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All keys, the primary first."""
        return tuple(self._ciphers)

    def install(self, key: bytes) -> None:
        """Adds `key` for decryption; no change if it exists. Raises KeyringError for a wrong length."""
        _check(key)
        key = bytes(key)
        if key in self._ciphers:
            return
        if len(self._ciphers) >= MAX_KEYS:
            raise KeyringError(f"the keyring has {MAX_KEYS} keys, which is the maximum")
        self._become((*self._ciphers, key))

    def use(self, key: bytes) -> None:
        """Makes an installed key the primary. Raises KeyringError if it is not installed."""
        key = bytes(key)
        if key not in self._ciphers:
            raise KeyringError("requested key is not in the keyring")
        if key != self.primary:
            self._become((key, *(other for other in self._ciphers if other != key)))

    def remove(self, key: bytes) -> None:
        """Removes `key`; a missing one is not an error. Raises KeyringError for the primary."""
        key = bytes(key)
        if key == self.primary:
            raise KeyringError("removing the primary key is not allowed")
        if key in self._ciphers:
            self._become(tuple(other for other in self._ciphers if other != key))

    def _become(self, keys: tuple[bytes, ...]) -> None:
        if self._keep is not None:
            self._keep(keys)
        self.replace(keys)

    def replace(self, keys: tuple[bytes, ...]) -> None:
        """Sets these keys, the primary first, which are already stored. Raises KeyringError for none, or a wrong
        length."""
        if not keys:
            raise KeyringError("a keyring without a key")
        for key in keys:
            _check(key)
        self._ciphers = {key: self._ciphers.get(key) or AESGCM(key) for key in keys}

    def list(self) -> tuple[str, ...]:
        """Returns all keys in base64, the primary first, in the form of a key response."""
        return tuple(encode_key(key) for key in self._ciphers)

    @property
    def primary_cipher(self) -> AESGCM:
        """AES-GCM under the primary key."""
        return next(iter(self._ciphers.values()))

    def ciphers(self) -> Iterator[AESGCM]:
        """AES-GCM under each key, the primary first."""
        return iter(self._ciphers.values())


def _check(key: bytes) -> None:
    if len(key) not in KEY_LENGTHS:
        raise KeyringError(f"key size must be 16, 24 or 32 bytes, not {len(key)}")


def encode_key(key: bytes) -> str:
    """Returns a key in the form of users and key responses."""
    return base64.b64encode(key).decode("ascii")


def decode_key(text: str) -> bytes:
    """Parses the key in `text`, base64 of 16, 24 or 32 bytes. Raises KeyringError, which does not contain the text."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise KeyringError("a gossip key must be base64") from None
    if len(key) not in KEY_LENGTHS:
        raise KeyringError(f"a gossip key must be base64 of 16, 24 or 32 bytes, not of {len(key)}")
    return key
