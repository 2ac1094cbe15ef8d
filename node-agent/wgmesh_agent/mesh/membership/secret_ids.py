"""Codec for ids of pre-shared-key secrets, as tag and as text."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from wgmesh_api.preshared import (
    ID_BYTES,
    MOST_SECRETS,
)


def encode_ids(ids: Iterable[bytes]) -> str:
    """The ids as text for a tag."""
    return base64.urlsafe_b64encode(b"".join(ids)).decode("ascii").rstrip("=")


def decode_ids(text: str) -> tuple[bytes, ...]:
    """Like `split_ids`, from the output of `encode_ids`."""
    if len(text) > 2 * MOST_SECRETS * ID_BYTES:
        raise ValueError("too many ids of secrets")
    return split_ids(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))


def split_ids(raw: bytes) -> tuple[bytes, ...]:
    """The concatenated ids, split. Raises ValueError: incomplete, or more than four."""
    if len(raw) % ID_BYTES or len(raw) > MOST_SECRETS * ID_BYTES:
        raise ValueError(f"{len(raw)} bytes are not ids of at most {MOST_SECRETS} secrets")
    return tuple(raw[start : start + ID_BYTES] for start in range(0, len(raw), ID_BYTES))
