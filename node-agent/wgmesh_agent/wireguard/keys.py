"""WireGuard's Curve25519 keys as value types, so that a private key cannot be printed by accident."""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

KEY_BYTES = 32
BASE64_CHARACTERS = 44


class InvalidKeyError(ValueError):
    """Text or bytes that are not a WireGuard key; the message never contains them."""


def _decode(text: str) -> bytes:
    if len(text) != BASE64_CHARACTERS:
        raise InvalidKeyError(f"a WireGuard key has {BASE64_CHARACTERS} base64 characters, not {len(text)}")
    try:
        raw = b64decode(text.encode("ascii"), validate=True)
    except (Base64Error, UnicodeEncodeError):
        # The cause would contain the text, which may be a private key.
        raise InvalidKeyError("a WireGuard key is base64, and this is not") from None
    if len(raw) != KEY_BYTES:
        raise InvalidKeyError(f"a WireGuard key has {KEY_BYTES} bytes, not {len(raw)}")
    # The last character contains two unused bits: two texts for one key would defeat "key already held".
    if b64encode(raw).decode("ascii") != text:
        raise InvalidKeyError("a WireGuard key must be in canonical base64")
    return raw


def _checked(raw: bytes) -> None:
    if len(raw) != KEY_BYTES:
        raise InvalidKeyError(f"a WireGuard key has {KEY_BYTES} bytes, not {len(raw)}")


@dataclass(frozen=True, slots=True, order=True)
class PublicKey:
    """Public key, the identity of a peer: 32 raw bytes, little-endian u-coordinate (RFC 7748 section 5)."""

    raw: bytes

    def __post_init__(self) -> None:
        _checked(self.raw)

    # The table of peers is keyed by these: hashing the bytes themselves is several times faster than the generated
    # hash of a tuple of fields.
    def __hash__(self) -> int:
        return hash(self.raw)

    @classmethod
    def from_base64(cls, text: str) -> Self:
        """Parses 44 characters of canonical base64; raises `InvalidKeyError` for anything else."""
        return cls(_decode(text))

    def __str__(self) -> str:
        return b64encode(self.raw).decode("ascii")

    def __repr__(self) -> str:
        return f"PublicKey({self})"


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """Private key: 32 raw bytes, clamped. `repr` and `str` never show it; `to_base64` is the only way to export it."""

    raw: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _checked(self.raw)

    @classmethod
    def from_base64(cls, text: str) -> Self:
        """Parses 44 characters of canonical base64; raises `InvalidKeyError` (which does not contain the text)."""
        return cls(_decode(text))

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> Self:
        """Generates a key from a source of random bytes (`os.urandom` outside tests), clamped as in RFC 7748 section
        5."""
        raw = bytearray(random_bytes(KEY_BYTES))
        _checked(bytes(raw))
        raw[0] &= 248
        raw[31] = (raw[31] & 127) | 64
        return cls(bytes(raw))

    def public(self) -> PublicKey:
        """Returns the public key that belongs to this one (X25519 with the base point); takes about 50 µs."""
        # Imported here so that the command line's help stays fast.
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        return PublicKey(X25519PrivateKey.from_private_bytes(self.raw).public_key().public_bytes_raw())

    def to_base64(self) -> str:
        """Returns the form used by `wg` and key files. Write it only to a file of mode 0600 or to WireGuard itself."""
        return b64encode(self.raw).decode("ascii")

    def __str__(self) -> str:
        return "PrivateKey(…)"

    def __repr__(self) -> str:
        return "PrivateKey(…)"


@dataclass(frozen=True, slots=True, eq=False)
class PresharedKey:
    """Pre-shared key of two peers: 32 raw bytes, all zero for none (as in WireGuard). `repr` and `str` never show
    it; it is compared in constant time."""

    raw: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _checked(self.raw)

    def __bool__(self) -> bool:
        return any(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PresharedKey) and hmac.compare_digest(self.raw, other.raw)

    def __hash__(self) -> int:
        return hash(self.raw)

    def __str__(self) -> str:
        return "PresharedKey(…)" if self else "PresharedKey(none)"

    def __repr__(self) -> str:
        return str(self)


NO_PRESHARED_KEY = PresharedKey(bytes(KEY_BYTES))
