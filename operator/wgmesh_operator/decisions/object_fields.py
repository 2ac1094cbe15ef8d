"""Common fields of Kubernetes objects. A value of an unexpected type is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from wgmesh_api.fields import read_list, read_mapping, read_time

EPOCH = datetime.fromtimestamp(0, UTC)
"""The time of an object without one."""


def read_items(mapping: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return [item for item in read_list(mapping, key) if isinstance(item, Mapping)]


def read_texts(mapping: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(item for item in read_list(mapping, key) if isinstance(item, str))


def read_text_map(metadata: Mapping[str, Any], key: str) -> dict[str, str]:
    return {name: text for name, text in read_mapping(metadata, key).items() if isinstance(text, str)}


def read_deleting_since(metadata: Mapping[str, Any]) -> datetime | None:
    """Whether the object is being deleted, whatever the value of the time."""
    moment = metadata.get("deletionTimestamp")
    return None if moment is None else read_time(moment) or EPOCH
