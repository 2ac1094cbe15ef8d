"""The mesh record of a running node, and its file, which is written before other members rely on the change."""

from __future__ import annotations

import threading
from dataclasses import replace

from wgmesh_agent.gossip.errors import KeyringError
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.rotation.key_policy import KeyPolicy
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.state.store import StateStore


class MeshRecordStore:
    """The current record; `persist` may be called from the loop or a thread."""

    def __init__(self, folder: StateStore, value: MeshRecord, keys: KeyPolicy, clock: Clock) -> None:
        self._value = value
        self._keys = keys
        self._clock = clock
        self._folder = folder
        self._writing = threading.Lock()

    @property
    def value(self) -> MeshRecord:
        """The current value."""
        return self._value

    def set(self, value: MeshRecord) -> None:
        """Takes effect at once; durable with the next `persist`."""
        self._value = value

    def persist(self) -> None:
        """The last writer writes the then current value. Raises OSError."""
        with self._writing:
            self._folder.save_mesh(self.value)

    def persist_if_possible(self) -> None:
        """Like `persist`; a full disk is logged, and does not stop an agent whose mesh is already stored."""
        with self._writing:
            self._folder.save_mesh_if_possible(self.value)

    def replace(self, value: MeshRecord) -> None:
        """Raises OSError; in that case nothing has changed."""
        before, self._value = self._value, value
        try:
            self.persist()
        except OSError:
            self._value = before
            raise

    def persist_keyring(self, keys: tuple[bytes, ...]) -> None:
        """Stores the keyring that members agreed on, before this node confirms it: an agent that is killed at any
        moment restarts with a valid keyring of the mesh.

        Raises:
            KeyringError: it cannot be stored, or members must not change it.
        """
        if self._keys.gossip_keys_managed_by:
            raise KeyringError(self._keys.gossip_keys_managed_by)
        since = self.value.gossip_keys_since
        if keys[0] != self.value.gossip_keys[0]:
            # Later than the previous one, whatever the clock says.
            since = max(int(self._clock.unix()), since + 1)
        try:
            self.replace(replace(self.value, gossip_keys=keys, gossip_keys_since=since))
        except OSError as error:
            raise KeyringError(f"the keyring cannot be stored on disk: {error.strerror or error}") from error
