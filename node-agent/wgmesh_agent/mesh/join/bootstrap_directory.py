"""Service addresses of bootstrap nodes, from this node's source for its mesh: flags, a join bundle, a roster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.settings.model import HostPort


class BootstrapDirectory(Protocol):
    """Evaluated whenever bootstrap nodes are needed: bundles and rosters change."""

    def bootstraps(self) -> Sequence[HostPort]:
        """The addresses of other bootstrap nodes, preferred ones first."""


@dataclass(frozen=True, slots=True)
class StaticBootstraps:
    """Those of the flags; none for the mesh's first node."""

    addresses: tuple[HostPort, ...]

    def bootstraps(self) -> Sequence[HostPort]:
        return self.addresses


@dataclass(frozen=True, slots=True)
class CombinedBootstraps:
    """Those of several directories, without duplicates."""

    directories: tuple[BootstrapDirectory, ...]

    def bootstraps(self) -> Sequence[HostPort]:
        return tuple(
            dict.fromkeys(address for directory in self.directories for address in directory.bootstraps())
        )


class KnownBootstraps:
    """Those of a directory, then the service addresses that members advertise which are bootstrap nodes."""

    def __init__(self, directory: BootstrapDirectory, ledger: Ledger, service_port: int) -> None:
        self._directory = directory
        self._ledger = ledger
        self._service_port = service_port

    def bootstraps(self) -> Sequence[HostPort]:
        """Without duplicates."""
        members = (
            HostPort(str(endpoint.address), self._service_port)
            for binding in self._ledger
            if binding.claim.bootstrap
            for endpoint in binding.claim.endpoints[:1]
        )
        return list(dict.fromkeys((*self._directory.bootstraps(), *members)))
