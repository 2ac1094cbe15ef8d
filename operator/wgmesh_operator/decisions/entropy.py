"""Randomness, passed to decisions by their executor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class Entropy:
    """`key` generates a P-256 key; `serial` a positive number below 2^159; `random_bytes` that many bytes."""

    key: Callable[[], ec.EllipticCurvePrivateKey]
    serial: Callable[[], int]
    random_bytes: Callable[[int], bytes]
