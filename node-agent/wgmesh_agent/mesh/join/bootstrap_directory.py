"""Where bootstrap nodes serve, by whatever told this node of its mesh: flags, a join bundle, a roster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wgmesh_agent.settings.model import HostPort


class BootstrapDirectory(Protocol):
    """Asked whenever bootstrap nodes are needed: a bundle or a roster names others in time."""

    def bootstraps(self) -> Sequence[HostPort]:
        """The addresses of other bootstrap nodes, most wanted first."""


@dataclass(frozen=True, slots=True)
class StaticBootstraps:
    """Those of the flags; none for the mesh's first node."""

    addresses: tuple[HostPort, ...]

    def bootstraps(self) -> Sequence[HostPort]:
        return self.addresses


@dataclass(frozen=True, slots=True)
class CombinedBootstraps:
    """Those of several directories, each address once."""

    directories: tuple[BootstrapDirectory, ...]

    def bootstraps(self) -> Sequence[HostPort]:
        return tuple(
            dict.fromkeys(address for directory in self.directories for address in directory.bootstraps())
        )
