"""Chance, handed to decisions by who executes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class Entropy:
    """`key` makes a P-256 key; `serial` a positive number below 2^159; `random_bytes` as many as asked for."""

    key: Callable[[], ec.EllipticCurvePrivateKey]
    serial: Callable[[], int]
    random_bytes: Callable[[int], bytes]
