"""Syncs the gossip keyring from the Secret that the operator maintains and every agent mounts."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.gossip.errors import GossipError, KeyringError
from wgmesh_agent.gossip.serf.key_manager import KeyOperation
from wgmesh_agent.gossip.wire.keyring import KEY_LENGTHS, MAX_KEYS

log = structlog.get_logger()
POLL_INTERVAL_SECONDS = 5.0
MAX_BYTES = 64 * 1024
SINCE_FILE = "since"
"""The file next to the keyring's."""


@dataclass(frozen=True, slots=True)
class GossipKeyring:
    """Gossip keys, the primary key first, and when they were decided, in unix seconds (0: unknown)."""

    keys: tuple[bytes, ...] = field(repr=False)
    since: int


def read_keyring(path: Path) -> GossipKeyring:
    """The keyring in a JSON list of base64, and the time in the file `since` next to it. Raises OSError or
    ValueError.
    """
    beside = path.with_name(SINCE_FILE)
    since = _since(beside)
    with path.open("rb") as file:
        texts = json.loads(file.read(MAX_BYTES))
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{path} does not contain a list of keys")
    keys = tuple(base64.b64decode(text, validate=True) for text in texts)
    if not 0 < len(keys) <= MAX_KEYS or any(len(key) not in KEY_LENGTHS for key in keys):
        raise ValueError(f"{path} does not contain keys of 16, 24 or 32 bytes")
    if _since(beside) != since:
        raise ValueError(f"{path} is being replaced")
    return GossipKeyring(keys, since)


def _since(path: Path) -> int:
    try:
        with path.open("rb") as file:
            text = file.read(16).decode("ascii", "replace")
    except FileNotFoundError:
        return 0
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{path} does not contain a time")
    return int(text)


class KeyringSync:
    """Keyring sync of an agent; `run` runs beside each session."""

    def __init__(self, path: Path, externals: Callable[[], Sequence[str]]) -> None:
        """
        Args:
            externals: the external members, which have no Secret.
        """
        self._path = path
        self._externals = externals

    async def run(self, node: MeshNode) -> None:
        """Polls until cancelled: a kubelet replaces the files some time after the Secret."""
        while True:
            await self.reconcile(node)
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def reconcile(self, node: MeshNode) -> None:
        """Adopts a keyring that was decided later than this node's; a bootstrap node sends it to external members."""
        try:
            ring = await asyncio.to_thread(read_keyring, self._path)
        except (OSError, ValueError) as error:
            log.debug("cannot read gossip keys", error=str(error))
            return
        before = node.record.gossip_keys
        if ring.since <= node.record.gossip_keys_since:
            return
        try:
            node.gossip_keys.replace(ring.keys, ring.since)
        except (KeyringError, OSError) as error:
            log.error("cannot adopt gossip keys", error=str(error), retry_seconds=POLL_INTERVAL_SECONDS)
            return
        if node.record.bootstrap and ring.keys != before:
            await self._push_to_external_members(node, before, ring.keys)

    async def _push_to_external_members(
        self, node: MeshNode, before: Sequence[bytes], after: Sequence[bytes]
    ) -> None:
        """A member that misses it fetches the keys from a bootstrap node, once it receives from no member."""
        nodes = list(self._externals())
        steps = [
            *((KeyOperation.INSTALL, key) for key in after if key not in before),
            (KeyOperation.USE, after[0]),
            *((KeyOperation.REMOVE, key) for key in before if key not in after),
        ]
        for operation, key in steps if nodes else ():
            try:
                told = await node.gossip.change_keys(operation, key, nodes)
            except GossipError as error:
                log.warning("cannot push gossip keys to external members", error=str(error))
                return
            missed = sorted(told.silent | told.errors.keys())
            if missed:
                log.warning(
                    "external members missed the gossip key change",
                    nodes=missed[:5],
                    next="they fetch the keys from a bootstrap node",
                )
