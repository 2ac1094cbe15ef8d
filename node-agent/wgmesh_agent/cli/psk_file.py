"""The file of secrets for pre-shared keys, as a user creates and renews it."""

from __future__ import annotations

import os
from pathlib import Path

from wgmesh_agent.mesh.psk.secret_file import read_file
from wgmesh_agent.runtime.atomic_file import write_atomically
from wgmesh_api.preshared import SECRET_BYTES, write_secrets

HEAD = "# Secrets of a wgmesh mesh, the newest first: every member needs this file, and no other machine may have it.\n"


def renew(path: Path) -> bool:
    """Adds a new secret to the file and keeps the newest one so far behind it; returns whether there was one. Mode
    0600.

    Raises:
        OSError: it cannot be read or written.
        wgmesh_api.preshared.SecretsError: group or others may read it, or its content is malformed.
    """
    # Reading does not depend on the mesh.
    kept = read_file(path, "")[:1] if path.exists() else ()
    lines = [os.urandom(SECRET_BYTES), *(secret.raw for secret in kept)]
    write_atomically(path, (HEAD + write_secrets(lines)).encode("ascii"))
    return bool(kept)
