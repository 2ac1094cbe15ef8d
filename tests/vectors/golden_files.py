"""The golden packets of real peers: each file says what was on the wire, and what that means."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wgmesh_agent.gossip.wire.keyring import Keyring

FOLDER = Path(__file__).parent / "serf"
Vector = dict[str, Any]


def load(path: Path) -> Vector:
    vector: Vector = json.loads(path.read_text())
    return vector


VECTORS = {
    path.stem: load(path) for path in sorted(FOLDER.glob("*.json")) if path.stem != "coordinate_updates"
}
PACKETS = [name for name, vector in VECTORS.items() if vector["transport"] == "udp"]
STREAMS = [name for name, vector in VECTORS.items() if vector["transport"] == "tcp"]
MESSAGES = [
    pytest.param(entry, id=f"{name}-{index}")
    for name, vector in VECTORS.items()
    for index, entry in enumerate(vector["messages"])
]


def keyring_of(vector: Vector) -> Keyring | None:
    return Keyring(bytes.fromhex(vector["key_hex"])) if vector["key_hex"] else None


def label_of(vector: Vector) -> bytes:
    return str(vector.get("label", "")).encode()


def version_of(vector: Vector) -> int:
    return 0 if "encryption v0" in vector["layers"] else 1


def given_nonce(vector: Vector) -> Callable[[int], bytes]:
    return lambda size: bytes.fromhex(vector["nonce_hex"])[:size]


def wire_of(vector: Vector) -> bytes:
    return bytes.fromhex(vector["wire_hex"])


def parts_of(vector: Vector) -> list[bytes]:
    return [bytes.fromhex(entry["hex"]) for entry in vector["messages"]]
