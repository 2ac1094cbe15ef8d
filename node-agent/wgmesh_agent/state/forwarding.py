"""Forwarding between single interfaces, switched on where a node announces routes, and off again as it was before.

Only those interfaces forward that have to: the mesh's, and the one on which a network is reached. What was switched on
is noted in the state folder before it is done, so that it is undone also after a power cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog

from wgmesh_agent.state import sealed_file
from wgmesh_agent.state.sealed_file import DamagedFile

log = structlog.get_logger()
FILE = "forwarding.json"
NET = Path("/proc/sys/net")


class Forwarding:
    """Blocking; one instance a node."""

    def __init__(self, folder: Path, net: Path = NET) -> None:
        """`net` is where the kernel's settings are."""
        self._path = folder / FILE
        self._net = net
        self._ours = self._load()
        self._told: set[str] = set()

    def settle(self, wanted: Sequence[tuple[int, str]]) -> None:
        """Has these interfaces (IP version, name) forward, and those switched on earlier no more."""
        names = {name for version, name in wanted if version == 4}
        for name in sorted(self._ours - names):
            self._write(name, "0")
        missing = {name for name in names if self._read(self._switch(name)) == "0"}
        if (self._ours & names) | missing != self._ours:
            self._ours = (self._ours & names) | missing
            self._save()
        for name in sorted(missing):
            log.info("forwarding switched on", interface=name)
            self._write(name, "1")
        if (
            any(version == 6 for version, _ in wanted)
            and self._read(self._net / "ipv6/conf/all/forwarding") == "0"
        ):
            self._tell(
                "this node announces IPv6 networks and does not forward: set sysctl net.ipv6.conf.all.forwarding=1 "
                "(which is not done here: it changes how the machine takes router advertisements)"
            )

    def _switch(self, name: str) -> Path:
        return self._net / "ipv4/conf" / name / "forwarding"

    def _read(self, path: Path) -> str:
        try:
            return path.read_text().strip()
        except OSError:
            return ""

    def _write(self, name: str, value: str) -> None:
        try:
            if self._read(self._switch(name)) not in ("", value):
                self._switch(name).write_text(value)
        except OSError as error:
            self._tell(f"forwarding of {name} cannot be set to {value}: {error.strerror}")

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.warning("forwarding", why=what)

    def _load(self) -> set[str]:
        try:
            return {str(name) for name in sealed_file.load(self._path) or []}
        except (DamagedFile, TypeError) as error:
            log.error("what was set for forwarding is forgotten", why=str(error))
            return set()

    def _save(self) -> None:
        sealed_file.save(self._path, sorted(self._ours))
