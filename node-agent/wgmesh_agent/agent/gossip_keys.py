"""Replaces this node's gossip keys as a whole by keys decided elsewhere."""

from __future__ import annotations

from dataclasses import replace

import structlog

from wgmesh_agent.gossip.errors import KeyringError
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.mesh.membership.local_node import LocalNode

log = structlog.get_logger()


class GossipKeys:
    """The mesh record and the keyring of this node, kept consistent."""

    def __init__(self, local: LocalNode, keyring: Keyring | None) -> None:
        """
        Args:
            keyring: None: gossip of this mesh is not encrypted.
        """
        self._local = local
        self.keyring = keyring

    def replace(self, keys: tuple[bytes, ...], since: int) -> None:
        """Writes this keyring, decided elsewhere at `since` (unix seconds), to disk and then replaces the current one.

        Raises:
            KeyringError: gossip of this mesh is not encrypted, or the keyring is invalid.
            OSError: the state folder cannot be written; nothing has changed.
        """
        if self.keyring is None:
            raise KeyringError("gossip of this mesh is not encrypted")
        self._local.replace_record(replace(self._local.record, gossip_keys=keys, gossip_keys_since=since))
        self.keyring.replace(keys)
        log.info("gossip keys changed", on_the_ring=len(keys))
