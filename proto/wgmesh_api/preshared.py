"""Secrets for deriving pre-shared keys: file format and ids."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

SECRET_BYTES = 32
ID_BYTES = 4
MOST_SECRETS = 4
ID_LABEL = b"wgmesh secret id 1\0"


class SecretsError(ValueError):
    """A malformed secret or secrets file; the message never contains them."""


def derived(secret: bytes, mesh: str, info: bytes, length: int) -> bytes:
    """Derives key material by HKDF-SHA256 (RFC 5869) with the mesh's name as salt."""
    # Imported here so that the command line's help stays fast.
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length, mesh.encode(), info).derive(secret)


def secret_id(secret: bytes, mesh: str) -> bytes:
    """Returns 4 bytes that identify this secret in public and reveal nothing about it."""
    return derived(secret, mesh, ID_LABEL, ID_BYTES)


def read_secrets(text: str) -> tuple[bytes, ...]:
    """Parses one secret per line, base64 of 32 bytes, newest first; empty lines and lines that begin with `#` are
    ignored.

    Raises:
        SecretsError: a line is not a secret, one is duplicated, or there are more than four.
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
            # Not quoted: it may be a secret with a typing error.
            raise SecretsError(f"line {number} is not the base64 of {SECRET_BYTES} bytes")
        found.append(raw)
    if len(found) > MOST_SECRETS:
        raise SecretsError(f"there are {len(found)} secrets, more than {MOST_SECRETS}")
    if len(set(found)) != len(found):
        raise SecretsError("one secret is duplicated")
    return tuple(found)


def write_secrets(secrets: Iterable[bytes]) -> str:
    """Formats secrets for `read_secrets`."""
    return "".join(f"{base64.b64encode(secret).decode('ascii')}\n" for secret in secrets)
