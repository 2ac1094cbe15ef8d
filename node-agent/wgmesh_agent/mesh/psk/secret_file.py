"""The mesh's secrets as configured on this machine, reloaded while the agent runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from wgmesh_agent.mesh.psk.derivation import MeshSecret, SecretSet, parse_secrets
from wgmesh_agent.runtime.bounded_file import FileFault, read_bounded
from wgmesh_agent.runtime.file_watch import GROUP_OR_OTHER
from wgmesh_agent.runtime.log_on_change import LogOnChange
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_api.preshared import SecretsError

log = structlog.get_logger()
POLL_INTERVAL_SECONDS = 2.0
MAX_BYTES = 4096

UNREADABLE = (OSError, SecretsError, SettingsError)

Read = Callable[[], tuple[MeshSecret, ...]]
"""Raises OSError, SecretsError or SettingsError."""


class SecretFile:
    """The current secrets; outlives sessions, so that former secrets remain usable in the next."""

    def __init__(self, read: Read | None = None, *, required: bool = True) -> None:
        """Without `read` there are never any secrets. Raises the exceptions of `read` if secrets are `required`: such
        an agent does not start without them.
        """
        self._can_change = read is not None
        self._read: Read = read or tuple
        self._fault = LogOnChange()
        self.current = SecretSet()
        try:
            self.current = SecretSet(self._read())
        except UNREADABLE as error:
            if required:
                raise
            self._say(error)

    async def run(self, take: Callable[[SecretSet], bool]) -> None:
        """Polls for changed secrets until cancelled; `take` returns whether they can be used."""
        while self._can_change:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            await self.poll(take)

    async def poll(self, take: Callable[[SecretSet], bool]) -> None:
        """Reads once. A file that cannot be read changes nothing, and is logged once."""
        try:
            found = await asyncio.to_thread(self._read)
        except UNREADABLE as error:
            self._say(error)
            return
        self._fault.is_over()
        if tuple(one.id for one in found) == self.current.ids:
            return
        held = self.current.replace(found)
        if take(held):
            self.current = held
            log.info("pre-shared secrets changed", ids=[id_.hex() for id_ in held.ids])

    def _say(self, error: Exception) -> None:
        if self._fault.is_new(str(error)):
            log.warning("cannot read pre-shared secrets, keeping the previous ones", error=str(error))


def from_file(path: Path, mesh: str) -> SecretFile:
    """The secrets in a file that a user maintains. Raises OSError or SecretsError."""
    return SecretFile(lambda: read_file(path, mesh))


def from_mount(path: Path, mesh: str) -> SecretFile:
    """The secrets in a file that another program maintains, with its own mode. Without the file there are none."""

    def read() -> tuple[MeshSecret, ...]:
        try:
            return _parse(path, read_bounded(path, MAX_BYTES), mesh)
        except FileFault as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return ()
            raise SecretsError(f"no secrets: {error}") from error

    return SecretFile(read, required=False)


def read_file(path: Path, mesh: str) -> tuple[MeshSecret, ...]:
    """Raises OSError, or SecretsError: group or others may access the file, or its content is malformed."""

    def check(status: os.stat_result) -> None:
        if status.st_mode & GROUP_OR_OTHER:
            raise SecretsError(f"group or others may read or write {path}: chmod 600 {path}")

    try:
        data = read_bounded(path, MAX_BYTES, check=check)
    except FileFault as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise SecretsError(f"no secrets: {error}") from error
    return _parse(path, data, mesh)


def _parse(path: Path, data: bytes, mesh: str) -> tuple[MeshSecret, ...]:
    try:
        return parse_secrets(data.decode("ascii"), mesh)
    except UnicodeDecodeError:
        raise SecretsError(f"{path} contains no secrets: it is not text") from None
    except SecretsError as error:
        raise SecretsError(f"{path}: {error}") from None
