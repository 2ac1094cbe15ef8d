"""Enables IP forwarding per interface for gateways and relays, and restores the previous setting.

Both roles declare their needs, and one mechanism applies them: the mesh's interface forwards, and packets from it may
go to the required networks and nowhere else; a gateway's interface to its network forwards into the mesh. A machine
that forwards from an interface anyway is left unchanged. Changed settings are recorded in the state folder first, so
that they are restored also after a power failure: unless forwarding of the whole machine, which was off then, was
enabled since. From then on the setting belongs to the administrator.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from wgmesh_agent.runtime import checksummed_file
from wgmesh_agent.runtime.checksummed_file import CorruptFile
from wgmesh_agent.wireguard.errors import KernelError
from wgmesh_agent.wireguard.model import Network

log = structlog.get_logger()
FILE = "forwarding.json"
NET = Path("/proc/sys/net")


class ForwardingPurpose(enum.Enum):
    """Purposes for which a node forwards."""

    GATEWAY = enum.auto()
    RELAY = enum.auto()


@dataclass(frozen=True, slots=True)
class _Requirement:
    networks: tuple[Network, ...]
    interfaces: frozenset[str]


class ForwardingRules(Protocol):
    """Routing rules of one interface; `linux.forwarding_rules` has them. All raise KernelError."""

    def is_restricted(self, name: str, /) -> bool:
        """Whether there are such rules for the interface."""

    def restrict_forwarding(self, name: str, networks: Iterable[Network], /, *, only_add: bool) -> None:
        """Lets packets that came in by the interface go to these IPv4 networks, and nowhere else."""

    def lift_restriction(self, name: str, /) -> None:
        """Removes the rules of the interface."""


class IPForwarding:
    """Forwarding of a node. Blocking, from any thread.

    Forwarding enabled by an earlier process of the agent stays until both roles have declared their needs: traffic
    continues while an agent restarts.
    """

    def __init__(self, folder: Path, tunnel: str, rules: ForwardingRules, net: Path = NET) -> None:
        """
        Args:
            tunnel: the mesh's interface.
            net: path of the kernel's settings.
        """
        self._path = folder / FILE
        self._tunnel = tunnel
        self._rules = rules
        self._net = net
        self._needs: dict[ForwardingPurpose, _Requirement] = {}
        self._ours = self._load()
        self._lock = threading.Lock()
        self._withdrawn = False

    def require(
        self, role: ForwardingPurpose, networks: Sequence[Network] = (), interfaces: Iterable[str] = ()
    ) -> None:
        """Sets the networks to which packets from the tunnel are forwarded, and the interfaces that forward into it.

        Without networks the role needs nothing (any more). IPv4 only: see `why_not`.

        Raises:
            KernelError: it cannot be done from here; one sentence.
        """
        with self._lock:
            if self._withdrawn:
                return
            ipv4 = tuple(one for one in networks if one.version == 4)
            self._needs[role] = _Requirement(ipv4, frozenset((self._tunnel, *interfaces) if ipv4 else ()))
            self._settle(all_known=len(self._needs) == len(ForwardingPurpose))

    def withdraw(self) -> None:
        """Restores everything; a later `need` from another thread has no effect.

        Raises:
            KernelError: it cannot be done from here; one sentence.
        """
        with self._lock:
            self._withdrawn = True
            self._needs = dict.fromkeys(ForwardingPurpose, _Requirement((), frozenset()))
            self._settle(all_known=True)

    def again(self) -> None:
        """Repairs foreign changes, above all a re-created interface. Logs failures."""
        with self._lock:
            try:
                if self._needs and not self._withdrawn:
                    self._settle(all_known=len(self._needs) == len(ForwardingPurpose))
            except (KernelError, OSError) as error:
                log.warning("cannot restore forwarding", error=str(error))

    def why_not(self, networks: Iterable[Network]) -> str | None:
        """Why some of the networks cannot be forwarded to, in a sentence; None: they can."""
        if any(one.version == 6 for one in networks) and self._read("ipv6", "all") == "0":
            return (
                "IPv6 is not forwarded here: set sysctl net.ipv6.conf.all.forwarding=1 if it should be (this "
                "program does not set it: it changes how the machine handles router advertisements)"
            )
        return None

    def _settle(self, *, all_known: bool) -> None:
        names = {name for need in self._needs.values() for name in need.interfaces}
        if self._rules.is_restricted(self._tunnel):
            self._ours.setdefault(self._tunnel, "0")
        if not all_known:
            names |= self._ours.keys()
        machine = self._read("ipv4", "all")
        ours = {
            name: self._ours.get(name, machine)
            for name in sorted(names)
            if name in self._ours or self._read("ipv4", name) == "0"
        }
        for name in sorted(self._ours.keys() - ours.keys()):
            if machine == "1" and self._ours[name] == "0":
                log.info("forwarding stays enabled: it is enabled for the whole machine", interface=name)
            else:
                self._write(name, "0")
            if name == self._tunnel:
                self._rules.lift_restriction(name)
        if ours != self._ours:
            self._ours = ours
            checksummed_file.save(self._path, ours)
        if self._tunnel in ours:
            networks = {network for need in self._needs.values() for network in need.networks}
            self._rules.restrict_forwarding(self._tunnel, sorted(networks, key=str), only_add=not all_known)
        for name in sorted(ours):
            self._write(name, "1")

    def _switch(self, family: str, name: str) -> Path:
        return self._net / family / "conf" / name / "forwarding"

    def _read(self, family: str, name: str) -> str:
        """Empty if there is no such interface, or no such protocol."""
        try:
            return self._switch(family, name).read_text().strip()
        except OSError:
            return ""

    def _write(self, name: str, value: str) -> None:
        if self._read("ipv4", name) in ("", value):
            return
        try:
            self._switch("ipv4", name).write_text(value)
        except OSError as error:
            raise KernelError(
                f"forwarding of {name} cannot be set to {value} from here: {error.strerror}"
            ) from error
        log.info("forwarding changed", interface=name, on=value == "1")

    def _load(self) -> dict[str, str]:
        """Changed settings, and whether the whole machine forwarded then; earlier releases recorded names only."""
        try:
            noted = checksummed_file.load(self._path) or {}
            if isinstance(noted, list):
                return {str(name): "0" for name in noted}
            return {str(name): str(machine) for name, machine in noted.items()}
        except (CorruptFile, TypeError, AttributeError) as error:
            log.error("record of forwarding changes is corrupt", error=str(error))
            return {}
