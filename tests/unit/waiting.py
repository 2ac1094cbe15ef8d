"""Waiting for what is to come about, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

DEADLINE_SECONDS = 20.0


async def until(condition: Callable[[], object]) -> None:
    """Returns as soon as it holds. Raises TimeoutError."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.002)
