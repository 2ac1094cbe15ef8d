"""Caches for bursts of identical computations, such as a message that all members rebroadcast; emptied in between.

In a `functools.lru_cache`, data of strangers would stay until others have sent as much.
"""

from __future__ import annotations

from typing import Protocol, TypeVar


class Cache(Protocol):
    """Interface of a function with `functools.lru_cache`."""

    def cache_clear(self) -> None: ...


C = TypeVar("C", bound=Cache)

_caches: list[Cache] = []


def forgotten_between_bursts(cache: C) -> C:
    """Registers the cache of a module's function for `forget_cached`."""
    _caches.append(cache)
    return cache


def forget_cached() -> None:
    """Empties all of them."""
    for cache in _caches:
        cache.cache_clear()
