"""Secrets that pre-shared keys are derived from: the file they are kept in, and what they are called."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

SECRET_BYTES = 32
ID_BYTES = 4
MOST_SECRETS = 4
ID_LABEL = b"wgmesh secret id 1\0"


class SecretsError(ValueError):
    """What should be secrets is none; the message never repeats them."""


def derived(secret: bytes, mesh: str, info: bytes, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869) with the mesh's name as salt."""
    # Imported here: the command line's help must not pay for it.
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length, mesh.encode(), info).derive(secret)


def secret_id(secret: bytes, mesh: str) -> bytes:
    """4 bytes that tell this secret from others, where everybody may read, and say nothing about it."""
    return derived(secret, mesh, ID_LABEL, ID_BYTES)


def read_secrets(text: str) -> tuple[bytes, ...]:
    """One secret a line, base64 of 32 bytes, the newest first; empty lines and those with `#` in front say nothing.

    Raises:
        SecretsError: a line is no secret, one stands there twice, or there are more than four.
    """
    found: list[bytes] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            raw = base64.b64decode(line.strip(), validate=True)
        except binascii.Error:
            raw = b""
        if len(raw) != SECRET_BYTES:
            # Not repeated: it may be a secret with a slip in it.
            raise SecretsError(f"line {number} is no base64 of {SECRET_BYTES} bytes")
        found.append(raw)
    if len(found) > MOST_SECRETS:
        raise SecretsError(f"there are {len(found)} secrets, more than {MOST_SECRETS}")
    if len(set(found)) != len(found):
        raise SecretsError("one secret stands there twice")
    return tuple(found)


def write_secrets(secrets: Iterable[bytes]) -> str:
    """What `read_secrets` reads."""
    return "".join(f"{base64.b64encode(secret).decode('ascii')}\n" for secret in secrets)
