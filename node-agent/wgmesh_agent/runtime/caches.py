"""Caches of what is computed again and again in a burst, such as the message that all pass on; forgotten in between.

What strangers have sent stays in a plain `functools.lru_cache` until others have sent as much.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_forget: list[Callable[[], None]] = []


def cached_for_a_burst(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """As `functools.lru_cache`, for a function of a module; `forget_cached` empties it."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        cached = lru_cache(maxsize=maxsize)(function)
        _forget.append(cached.cache_clear)
        return cached  # type: ignore[return-value]

    return decorate


def forget_cached() -> None:
    """Empties all of them."""
    for forget in _forget:
        forget()
