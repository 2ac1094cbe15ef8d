"""The label layer: identifies the destination cluster, unencrypted (gossip-wire section 2.1)."""

from __future__ import annotations

from typing import Final

from wgmesh_agent.gossip.errors import GossipError, LabelError

LABEL_TYPE: Final = 244
MAX_LABEL_BYTES: Final = 255


def label_header(label: bytes) -> bytes:
    """Returns the header before the first bytes; empty without a label. Raises GossipError above 255 bytes."""
    if len(label) > MAX_LABEL_BYTES:
        raise GossipError(f"a label of {len(label)} bytes; {MAX_LABEL_BYTES} is the most")
    return bytes((LABEL_TYPE, len(label))) + label if label else b""


def strip_label(data: bytes, label: bytes) -> bytes:
    """Returns `data` after its label header. Raises LabelError unless that is exactly `label` (none if empty)."""
    rest = take_label(data, label)
    if rest is None:
        raise LabelError("a truncated label header")
    return rest


def take_label(data: bytes, label: bytes) -> bytes | None:
    """Like strip_label, but None while the bytes received so far may still become the right header."""
    if not label:
        if data[:1] == bytes((LABEL_TYPE,)):
            raise LabelError("labelled bytes, but no label is configured")
        return data
    header = label_header(label)
    seen = data[: len(header)]
    if seen == header:
        return data[len(header) :]
    if header.startswith(seen):
        return None
    if seen[0] != LABEL_TYPE:
        raise LabelError("bytes without a label, but one is configured")
    raise LabelError("bytes labelled for another cluster")
