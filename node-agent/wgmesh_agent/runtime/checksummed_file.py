"""Self-checking files: JSON with a format number and a checksum."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import structlog

from wgmesh_agent.runtime.atomic_file import write_atomically

log = structlog.get_logger()
FORMAT = 1
MAX_BYTES = 64 * 1024 * 1024


class CorruptFile(Exception):
    """A state file is incomplete or was altered; it was renamed as reported, nothing is lost."""

    def __init__(self, path: Path, kept: Path, why: str) -> None:
        super().__init__(f"{path} is corrupt ({why}); moved to {kept.name}")
        self.path = path
        self.kept = kept


def save(path: Path, content: Any) -> None:
    """Writes the content (plain JSON types) atomically, readable by root only. Raises OSError."""
    body = _canonical(content)
    document = {"format": FORMAT, "sha256": hashlib.sha256(body).hexdigest(), "content": content}
    write_atomically(path, json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")


def load(path: Path) -> Any | None:
    """Returns the content, or None if there is no such file.

    Raises:
        CorruptFile: it is corrupt; it has been renamed, so that nothing overwrites it.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    try:
        return _verified_content(data)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise quarantine(path, str(error)) from error


def load_or_none(path: Path) -> Any | None:
    """Returns the content without side effects: None if there is no such file, or it is corrupt, and nothing is
    renamed.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _verified_content(file.read(MAX_BYTES + 1))
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return None


def quarantine(path: Path, why: str) -> CorruptFile:
    """Renames a corrupt file and returns the error to raise."""
    kept = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(kept)
    return CorruptFile(path, kept, why)


def _verified_content(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    document = json.loads(data)
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']!r:.20}, not {FORMAT}")
    content = document["content"]
    if not hmac.compare_digest(hashlib.sha256(_canonical(content)).hexdigest(), str(document["sha256"])):
        raise ValueError("its checksum does not match")
    return content


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
