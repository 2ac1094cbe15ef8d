"""The state directory of a mesh: one agent at a time, and files that survive a crash at any point."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from os import urandom
from pathlib import Path

import structlog

from wgmesh_agent.mesh.membership import mesh_record
from wgmesh_agent.mesh.membership.claims import Binding
from wgmesh_agent.runtime import checksummed_file
from wgmesh_agent.runtime.atomic_file import remove_leftovers, write_atomically
from wgmesh_agent.runtime.checksummed_file import CorruptFile
from wgmesh_agent.state import codec
from wgmesh_agent.state.machine_identity import Machine, from_json
from wgmesh_agent.wireguard.clock_steps import Span
from wgmesh_agent.wireguard.keys import InvalidKeyError, PrivateKey

log = structlog.get_logger()
KEY = "wireguard.key"
EARLIER_KEY = "wireguard.key.earlier"
MESH = "mesh.json"
MEMBERS = "members.json"
EARLIER_MEMBERS = "members.json.earlier"
CLOCK = "clock.json"
MACHINE = "machine.json"
LOCK = "lock"
COPIED = "of-another-machine"


class MeshLocked(Exception):
    """Another agent of this machine runs this mesh."""


class StateStore:
    """Holds the directory's lock while open; every method may raise OSError."""

    def __init__(self, base: Path, mesh: str) -> None:
        """Creates the directory if missing and takes its lock.

        Raises:
            MeshLocked: another agent holds it.
            OSError: the directory cannot be created or written.
        """
        self.path = base / mesh
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            os.close(self._lock)
            raise MeshLocked(
                f"another agent (process {holder or 'unknown'}) already runs the mesh {mesh} on this machine"
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        remove_leftovers(self.path)

    def has_private_key(self) -> bool:
        return (self.path / KEY).exists()

    def private_key(self) -> PrivateKey:
        """This node's WireGuard key, generated at first use.

        Raises:
            CorruptFile: the file contains no key; it was quarantined, so the next call generates a new one.
        """
        path = self.path / KEY
        try:
            text = path.read_text("ascii").strip()
        except FileNotFoundError:
            key = PrivateKey.generate(urandom)
            write_atomically(path, key.to_base64().encode() + b"\n")
            return key
        except UnicodeDecodeError as error:
            raise checksummed_file.quarantine(path, "it is not text") from error
        try:
            return PrivateKey.from_base64(text)
        except InvalidKeyError as error:
            raise checksummed_file.quarantine(path, "it contains no WireGuard key") from error

    def earlier_private_key(self) -> PrivateKey | None:
        """The key that this node was a member with before this one, until the mesh has accepted this one; None: it
        has.

        Raises:
            CorruptFile: the file contains no key; it was quarantined.
        """
        path = self.path / EARLIER_KEY
        try:
            return PrivateKey.from_base64(path.read_text("ascii").strip())
        except FileNotFoundError:
            return None
        except (UnicodeDecodeError, InvalidKeyError) as error:
            raise checksummed_file.quarantine(path, "it contains no WireGuard key") from error

    def save_private_key(self, key: PrivateKey, earlier: PrivateKey | None) -> None:
        """Stores this as the node's key. `earlier` is stored beside it until `forget_earlier_key`; None: no earlier
        key."""
        if earlier is not None:
            write_atomically(self.path / EARLIER_KEY, earlier.to_base64().encode() + b"\n")
        write_atomically(self.path / KEY, key.to_base64().encode() + b"\n")
        if earlier is None:
            self.forget_earlier_key()

    def forget_earlier_key(self) -> None:
        """Call once the mesh has accepted the present key."""
        (self.path / EARLIER_KEY).unlink(missing_ok=True)

    def mesh(self) -> mesh_record.MeshRecord | None:
        """The stored mesh, None if there is none. Raises CorruptFile."""
        path = self.path / MESH
        content = checksummed_file.load(path)
        if content is None:
            return None
        try:
            return codec.mesh_from_json(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise checksummed_file.quarantine(path, f"a field is missing or wrong: {error!r:.100}") from error

    def save_mesh(self, record: mesh_record.MeshRecord) -> None:
        checksummed_file.save(self.path / MESH, codec.mesh_to_json(record))

    def save_mesh_if_possible(self, record: mesh_record.MeshRecord) -> None:
        """Stores it; if that fails and a mesh is stored already, the failure is logged, and the caller continues."""
        try:
            self.save_mesh(record)
        except OSError as error:
            if self.is_empty():
                raise
            log.error(
                "cannot write the mesh record",
                error=str(error),
                next="keeping the previous record, retrying later",
            )

    def members(self) -> list[Binding]:
        """The stored members; a corrupt file is quarantined and logged, and the previous one is used."""
        for name in (MEMBERS, EARLIER_MEMBERS):
            path = self.path / name
            try:
                content = checksummed_file.load(path)
                if content is not None:
                    return self._parse_members(path, content)
            except CorruptFile as error:
                log.error(
                    "member snapshot is corrupt",
                    error=str(error),
                    next="using the previous snapshot; other members are learned from gossip",
                )
        return []

    @staticmethod
    def _parse_members(path: Path, content: object) -> list[Binding]:
        try:
            return codec.members_from_json(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise checksummed_file.quarantine(path, f"a field is missing or wrong: {error!r:.100}") from error

    def save_members(self, bindings: Iterable[Binding]) -> None:
        """Also keeps the previous snapshot: a founder without members would have no node to query."""
        path, earlier = self.path / MEMBERS, self.path / EARLIER_MEMBERS
        if path.exists():
            earlier.unlink(missing_ok=True)
            os.link(path, earlier)
        checksummed_file.save(path, codec.members_to_json(bindings))

    def clock_steps(self) -> list[Span]:
        """The stored steps of the wall clock; without them, the agent only waits longer."""
        try:
            return [
                (float(since), float(ahead))
                for since, ahead in checksummed_file.load(self.path / CLOCK) or []
            ]
        except (CorruptFile, TypeError, ValueError) as error:
            log.warning("clock steps lost", error=str(error))
            return []

    def save_clock_steps(self, spans: Sequence[Span]) -> bool:
        """Returns whether they could be stored."""
        try:
            checksummed_file.save(self.path / CLOCK, [list(span) for span in spans])
        except OSError as error:
            log.debug("cannot save clock steps", error=str(error))
            return False
        return True

    def is_of_another(self, machine: Machine) -> bool:
        """Returns whether this directory was written on another machine; one without an identity is adopted by this
        machine. Raises OSError."""
        path = self.path / MACHINE
        try:
            content = checksummed_file.load(path)
            before = from_json(content) if content is not None else Machine()
        except (CorruptFile, KeyError, TypeError, ValueError) as error:
            log.warning(
                "cannot read the machine id of the state",
                error=str(error),
                next="treating it as this machine's",
            )
            before = Machine()
        if before.is_other(machine):
            return True
        now = before.with_news(machine)
        if now != before:
            try:
                checksummed_file.save(path, now.to_json())
            except OSError as error:
                log.debug("cannot save the machine id of the state", error=str(error))
        return False

    def set_aside(self) -> Path:
        """Moves all content into a subdirectory, which is returned: this machine starts with empty state. Raises
        OSError."""
        aside = self.path / f"{COPIED}-{time.time_ns()}"
        aside.mkdir(mode=0o700)
        for entry in self.path.iterdir():
            if entry.name != LOCK and not entry.name.startswith(COPIED):
                entry.rename(aside / entry.name)
        return aside

    def is_empty(self) -> bool:
        """Returns whether the directory exists, and no mesh was ever joined from it."""
        return self.path.exists() and not (self.path / MESH).exists()

    def clear(self) -> None:
        """Removes the directory and its content: this node has left the mesh permanently."""
        shutil.rmtree(self.path)

    def close(self) -> None:
        """Releases the lock; the directory stays."""
        os.close(self._lock)
