"""The file of secrets for pre-shared keys, as a user makes and renews it."""

from __future__ import annotations

import os
from pathlib import Path

from wgmesh_agent.mesh.psk.secret_file import read_file
from wgmesh_agent.runtime.atomic_file import write_atomically
from wgmesh_api.preshared import SECRET_BYTES, write_secrets

HEAD = "# Secrets of a wgmesh mesh, the newest first: every member needs this file, nobody else may see it.\n"


def renew(path: Path) -> bool:
    """Puts a new secret first in the file, the newest so far behind it; whether there was one. Mode 0600.

    Raises:
        OSError: it cannot be read or written.
        wgmesh_api.preshared.SecretsError: others may read it, or it holds something else.
    """
    # Which mesh it is for makes no difference to what is read.
    kept = read_file(path, "")[:1] if path.exists() else ()
    lines = [os.urandom(SECRET_BYTES), *(secret.raw for secret in kept)]
    write_atomically(path, (HEAD + write_secrets(lines)).encode("ascii"))
    return bool(kept)
