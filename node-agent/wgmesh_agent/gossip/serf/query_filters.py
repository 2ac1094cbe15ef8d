"""Evaluates query filters for a member: Go regular expressions run by RE2, in time linear in their input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

from wgmesh_agent.gossip.errors import PeerError
from wgmesh_agent.gossip.wire.filters import Filter, NodeFilter, decode_filter

_MOST_EXPRESSION_BYTES = 1024
_MOST_PROGRAM_BYTES = 1 << 20


def addressed(filters: Iterable[bytes], name: str, tags: Mapping[str, str]) -> bool:
    """Returns whether the member `name` with `tags` passes every encoded filter; an unreadable one matches no
    member."""
    try:
        return all(matches(decode_filter(data), name, tags) for data in filters)
    except PeerError:
        return False


def matches(filter_: Filter, name: str, tags: Mapping[str, str]) -> bool:
    """Returns whether the member passes one filter. Raises PeerError for an expression that RE2 does not accept."""
    if isinstance(filter_, NodeFilter):
        return name in filter_.names
    return _compiled(filter_.expr).search(tags.get(filter_.tag, "")) is not None


@lru_cache(maxsize=8)
def _compiled(expression: str) -> Any:
    if len(expression) > _MOST_EXPRESSION_BYTES:
        raise PeerError(f"a tag expression of {len(expression)} characters")
    # Imported with the first tag filter; most nodes never see one.
    re2: Any = import_module("re2")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_PROGRAM_BYTES
    try:
        return re2.compile(expression, options)
    except re2.error as error:
        raise PeerError(f"a tag expression that is none: {error}") from error
    except UnicodeEncodeError as error:
        raise PeerError("a tag expression that is not UTF-8") from error
