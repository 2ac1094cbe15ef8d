"""The mesh's gossip keys as the operator decides on them: a Secret in every agent's pod, which this node follows."""

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
"""The file beside the ring's."""


@dataclass(frozen=True, slots=True)
class GossipKeyring:
    """Gossip keys, that which encrypts first, and when that was decided, in unix seconds (0: not said)."""

    keys: tuple[bytes, ...] = field(repr=False)
    since: int


def read_keyring(path: Path) -> GossipKeyring:
    """The ring in a JSON list of base64, and the time in the file `since` beside it. Raises OSError or ValueError."""
    beside = path.with_name(SINCE_FILE)
    since = _since(beside)
    with path.open("rb") as file:
        texts = json.loads(file.read(MAX_BYTES))
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{path} is no list of keys")
    keys = tuple(base64.b64decode(text, validate=True) for text in texts)
    if not 0 < len(keys) <= MAX_KEYS or any(len(key) not in KEY_LENGTHS for key in keys):
        raise ValueError(f"{path} holds no keys of 16, 24 or 32 bytes")
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
        raise ValueError(f"{path} holds no time")
    return int(text)


class KeyringSync:
    """One instance an agent; `run` runs beside each session."""

    def __init__(self, path: Path, externals: Callable[[], Sequence[str]]) -> None:
        """
        Args:
            externals: the members outside the cluster, which have no Secret.
        """
        self._path = path
        self._externals = externals

    async def run(self, node: MeshNode) -> None:
        """Looks again and again, until it is cancelled: a kubelet replaces the files some time after the Secret."""
        while True:
            await self.reconcile(node)
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def reconcile(self, node: MeshNode) -> None:
        """Takes over a ring that was decided on later than this node's; a bootstrap node tells machines outside."""
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
        """Who misses it gets the keys at a bootstrap node, when it hears nobody any more."""
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
