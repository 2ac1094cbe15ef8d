"""The gossip keys of this node, replaced as a whole by what was decided elsewhere."""

from __future__ import annotations

from dataclasses import replace

import structlog

from wgmesh_agent.gossip.errors import KeyringError
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.mesh.membership.local_node import LocalNode

log = structlog.get_logger()


class GossipKeys:
    """Record and keyring of this node, kept the same."""

    def __init__(self, local: LocalNode, keyring: Keyring | None) -> None:
        """
        Args:
            keyring: None: this mesh gossips in plaintext.
        """
        self._local = local
        self.keyring = keyring

    def replace(self, keys: tuple[bytes, ...], since: int) -> None:
        """Puts this ring, decided on elsewhere at `since` (unix seconds), on disk and then in the place of the own.

        Raises:
            KeyringError: this mesh gossips in plaintext, or the ring is none.
            OSError: the state folder cannot be written; nothing has changed.
        """
        if self.keyring is None:
            raise KeyringError("gossip of this mesh is not encrypted")
        self._local.replace_record(replace(self._local.record, gossip_keys=keys, gossip_keys_since=since))
        self.keyring.replace(keys)
        log.info("gossip keys changed", on_the_ring=len(keys))
