"""The mesh record of a running node, and its file: the file is written first where others rely on it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from wgmesh_agent.gossip.errors import KeyringError
from wgmesh_agent.state.folder import StateFolder
from wgmesh_agent.state.records import MeshRecord


class KeptRecord:
    """`value` is what is so now; `save` may be called from the loop or a thread."""

    def __init__(self, folder: StateFolder, value: MeshRecord) -> None:
        self.value = value
        self.ring_is_decided_by = ""
        """Who else decides on the gossip keys, as a sentence that says how to ask; empty: members do."""
        self._folder = folder
        self._writing = threading.Lock()

    def save(self) -> None:
        """Whoever writes last writes what is so then. Raises OSError."""
        with self._writing:
            self._folder.save_mesh(self.value)

    def become(self, value: MeshRecord) -> None:
        """Raises OSError; nothing has changed then."""
        before, self.value = self.value, value
        try:
            self.save()
        except OSError:
            self.value = before
            raise

    def keep_ring(self, keys: tuple[bytes, ...]) -> None:
        """Keeps what members decided on, before anybody is told that it is done: an agent that ends at any moment comes
        back with a ring of the mesh's.

        Raises:
            KeyringError: it cannot be kept, or is not for members to decide.
        """
        if self.ring_is_decided_by:
            raise KeyringError(self.ring_is_decided_by)
        is_other = keys[0] != self.value.gossip_keys[0]
        since = int(time.time()) if is_other else self.value.gossip_keys_since
        try:
            self.become(replace(self.value, gossip_keys=keys, gossip_keys_since=since))
        except OSError as error:
            raise KeyringError(f"the key ring cannot be kept on disk: {error.strerror or error}") from error
