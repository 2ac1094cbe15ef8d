"""Caches of what is computed again and again in a burst, such as the message that all pass on; forgotten in between.

What strangers have sent would stay in a `functools.lru_cache` until others have sent as much.
"""

from __future__ import annotations

from typing import Protocol, TypeVar


class Cache(Protocol):
    """What `functools.lru_cache` makes of a function."""

    def cache_clear(self) -> None: ...


C = TypeVar("C", bound=Cache)

_caches: list[Cache] = []


def forgotten_between_bursts(cache: C) -> C:
    """Has `forget_cached` empty this cache of a function of a module."""
    _caches.append(cache)
    return cache


def forget_cached() -> None:
    """Empties all of them."""
    for cache in _caches:
        cache.cache_clear()
