"""Work on every member, in slices: between them the event loop does what else is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
CHUNK_SIZE = 128
"""Members at a time; what is done with one takes up to some 100 µs."""


async def in_chunks(items: Iterable[T], work: Callable[[T], object]) -> None:
    """Calls `work` with each of `items`, which must not change meanwhile; what they mean may."""
    for done, item in enumerate(items, 1):
        work(item)
        if done % CHUNK_SIZE == 0:
            await asyncio.sleep(0)
