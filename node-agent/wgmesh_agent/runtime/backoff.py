"""Pauses that differ, so that nodes that began together do not go on together."""

from __future__ import annotations

import random


def jittered(seconds: float) -> float:
    """A quarter more or less."""
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311
