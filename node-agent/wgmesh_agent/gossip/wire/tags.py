"""serf tags inside memberlist's Meta (gossip-wire section 8.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.wire.packing import pack, unpack_first
from wgmesh_agent.gossip.wire.schema import TEXT, encode_text, text_map

MAX_META_BYTES: Final = 512
"""memberlist's MetaMaxSize: a Go peer panics if its own Meta exceeds it; receivers do not check."""
_MAGIC: Final = 0xFF
_TAGS: Final = text_map(TEXT)


def encode_tags(tags: Mapping[str, str]) -> bytes:
    """Encodes `tags`, sorted so that equal tags are equal bytes. Raises GossipError above 512 bytes."""
    ordered = {encode_text(name): encode_text(value) for name, value in tags.items()}
    meta = bytes((_MAGIC,)) + pack(dict(sorted(ordered.items())))
    if len(meta) > MAX_META_BYTES:
        raise GossipError(f"tags take {len(meta)} bytes, {MAX_META_BYTES} is the most a member may have")
    return meta


def decode_tags(meta: bytes) -> dict[str, str]:
    """Decodes tags in `meta`; a Meta without the leading ff is the value of the tag `role`. Raises PeerError."""
    if not meta:
        return {"role": ""}
    if meta[0] != _MAGIC:
        return {"role": meta.decode("utf-8", "surrogateescape")}
    return dict(_TAGS.decode(unpack_first(meta[1:])[0]))
