"""The mesh record of a running node, and its file: the file is written first where others rely on it."""

from __future__ import annotations

import threading
from dataclasses import replace

from wgmesh_agent.gossip.errors import KeyringError
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.rotation.key_policy import KeyPolicy
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.state.store import StateStore


class MeshRecordStore:
    """The one in use; `persist` may be called from the loop or a thread."""

    def __init__(self, folder: StateStore, value: MeshRecord, keys: KeyPolicy, clock: Clock) -> None:
        self._value = value
        self._keys = keys
        self._clock = clock
        self._folder = folder
        self._writing = threading.Lock()

    @property
    def value(self) -> MeshRecord:
        """What is so now."""
        return self._value

    def set(self, value: MeshRecord) -> None:
        """Visible at once; durable with the next `persist`."""
        self._value = value

    def persist(self) -> None:
        """Whoever writes last writes what is so then. Raises OSError."""
        with self._writing:
            self._folder.save_mesh(self.value)

    def persist_if_possible(self) -> None:
        """As `persist`; a full disk is said, and ends nobody whose mesh is remembered from before."""
        with self._writing:
            self._folder.save_mesh_if_possible(self.value)

    def replace(self, value: MeshRecord) -> None:
        """Raises OSError; nothing has changed then."""
        before, self._value = self._value, value
        try:
            self.persist()
        except OSError:
            self._value = before
            raise

    def persist_keyring(self, keys: tuple[bytes, ...]) -> None:
        """Keeps what members decided on, before anybody is told that it is done: an agent that ends at any moment comes
        back with a ring of the mesh's.

        Raises:
            KeyringError: it cannot be kept, or is not for members to decide.
        """
        if self._keys.gossip_keys_managed_by:
            raise KeyringError(self._keys.gossip_keys_managed_by)
        since = self.value.gossip_keys_since
        if keys[0] != self.value.gossip_keys[0]:
            # Later than the last one, whatever the clock says.
            since = max(int(self._clock.unix()), since + 1)
        try:
            self.replace(replace(self.value, gossip_keys=keys, gossip_keys_since=since))
        except OSError as error:
            raise KeyringError(f"the key ring cannot be kept on disk: {error.strerror or error}") from error
