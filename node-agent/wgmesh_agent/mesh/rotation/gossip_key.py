"""Key rotation of the mesh's gossip key; at every moment, all members can decrypt each other.

The new key is installed on all members, then used by all, then the old ones are removed. After each step all members
are queried for their keyrings, and the next step begins only if this one is complete on all. Until the new key is
used everywhere, a failed rotation is rolled back. A member that is down in the meantime fetches the keyring from a
bootstrap node when it returns: therefore no bootstrap node may be down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from wgmesh_agent.gossip.errors import GossipError, KeyringError
from wgmesh_agent.gossip.serf.key_manager import KeyOperation, KeyResult
from wgmesh_agent.gossip.serf.rotation_progress import incomplete_members
from wgmesh_agent.gossip.wire.keyring import Keyring, decode_key, encode_key
from wgmesh_api.text import shortened

log = structlog.get_logger()
ATTEMPTS = 3


class RotationFailed(Exception):
    """The keys are as before, or as the sentence states."""


class KeyQueries(Protocol):
    """The part of gossip that the rotation uses."""

    def change_keys(
        self, operation: KeyOperation, key: bytes = b"", nodes: Sequence[str] | None = None
    ) -> Coroutine[Any, Any, KeyResult]:
        """Raises GossipError."""


@dataclass(frozen=True, slots=True)
class RotationResult:
    """All members use the new key.

    Attributes:
        members: their number.
        kept: why the old keys are still in keyrings; empty: they are not.
    """

    members: int
    old_keys_kept: str = ""


class GossipKeyRotation:
    """Rotates the gossip key; one rotation at a time."""

    def __init__(self, gossip: KeyQueries, keyring: Keyring, away: Callable[[], Iterable[str]]) -> None:
        """
        Args:
            away: the bootstrap nodes that gossip does not report alive.
        """
        self._gossip = gossip
        self._keyring = keyring
        self._away = away
        self._lock = asyncio.Lock()

    async def rotate(self, new: bytes) -> RotationResult:
        """Raises RotationFailed, which names the members and their errors; all changes were rolled back unless it
        states otherwise.
        """
        if self._lock.locked():
            raise RotationFailed("a rotation is already in progress on this node: wait until it completes")
        async with self._lock:
            try:
                return await self._rotate(new)
            except GossipError as error:
                raise RotationFailed(f"cannot query the members: {error}") from error

    async def _rotate(self, new: bytes) -> RotationResult:
        old = self._keyring.primary
        self._require_bootstraps("nothing was changed")
        before = await self._list()
        # Keys left over from an interrupted rotation are removed with the old key.
        known = {key for ring in before.rings.values() for key in ring} | {encode_key(old)}
        trouble = await self._apply_to_all(KeyOperation.INSTALL, new)
        if not trouble:
            strange = (
                {key for ring in (await self._list()).rings.values() for key in ring}
                - known
                - {encode_key(new)}
            )
            trouble = {"another member": "rotates the keys at the same time"} if strange else {}
        if not trouble:
            trouble = self._lost_bootstraps()
        if trouble:
            raise RotationFailed(f"{_named(trouble)}; {await self._roll_back(new, None)}")
        log.info("gossip key installed on all members")
        trouble = await self._apply_to_all(KeyOperation.USE, new)
        if trouble:
            raise RotationFailed(f"{_named(trouble)}; {await self._roll_back(new, old)}")
        log.info("gossip key used by all members")
        return await self._remove_old(new, known)

    async def _remove_old(self, new: bytes, known: set[str]) -> RotationResult:
        trouble = self._lost_bootstraps()
        for key in () if trouble else _keys(known):
            if key != new:
                trouble |= await self._apply_to_all(KeyOperation.REMOVE, key)
        return RotationResult(len((await self._list()).rings), _named(trouble))

    async def _apply_to_all(self, operation: KeyOperation, key: bytes) -> dict[str, str]:
        """Performs a step on all members and verifies it. Returns the errors by member after three attempts.

        Queries get lost: members that have not answered are queried again. A member that fails in the meantime counts
        until gossip has detected it, which takes no longer.
        """
        trouble: dict[str, str] = {}
        for _ in range(ATTEMPTS):
            told = (await self._gossip.change_keys(operation, key)).errors
            trouble = incomplete_members(operation, encode_key(key), await self._list(), told)
            if not trouble:
                break
        return trouble

    async def _roll_back(self, new: bytes, old: bytes | None) -> str:
        """Makes `old` primary again where the new key may be in use, then removes the new one. Returns the outcome as
        text.
        """
        if old is not None:
            trouble = await self._apply_to_all(KeyOperation.USE, old)
            if trouble:
                return f"both keys stay in the keyrings, because {_named(trouble)}: try again when all answer"
        trouble = await self._apply_to_all(KeyOperation.REMOVE, new)
        if trouble:
            return (
                f"the old key stays in use, and the new one in some keyrings, because {_named(trouble)}: try "
                "again later"
            )
        return "the old key stays in use"

    async def _list(self) -> KeyResult:
        return await self._gossip.change_keys(KeyOperation.LIST)

    def _lost_bootstraps(self) -> dict[str, str]:
        return dict.fromkeys(self._away(), "is a bootstrap node that is down")

    def _require_bootstraps(self, outcome: str) -> None:
        lost = self._lost_bootstraps()
        if lost:
            raise RotationFailed(
                f"{_named(lost)}; {outcome}: bootstrap nodes distribute the keys, so bring it back, or remove "
                "it with `wgmesh leave NAME`"
            )


def _keys(texts: Iterable[str]) -> list[bytes]:
    """Those that are valid keys: members may send anything."""
    found = []
    for text in sorted(texts):
        with contextlib.suppress(KeyringError):
            found.append(decode_key(text))
    return found


def _named(trouble: Mapping[str, str]) -> str:
    return shortened([f"{name} {why}" for name, why in sorted(trouble.items())])
