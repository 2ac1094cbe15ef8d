"""Work on every member, in chunks: in between, the event loop runs other tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
CHUNK_SIZE = 128
"""Members per chunk; one takes up to about 100 µs."""


async def in_chunks(items: Iterable[T], work: Callable[[T], object]) -> None:
    """Calls `work` with each of `items`, which must not change in the meantime; the data they refer to may."""
    for done, item in enumerate(items, 1):
        work(item)
        if done % CHUNK_SIZE == 0:
            await asyncio.sleep(0)
