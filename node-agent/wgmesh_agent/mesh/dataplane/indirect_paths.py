"""Peers without a direct path, as reported by the mechanisms that forward their traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from wgmesh_agent.wireguard.keys import PublicKey


class IndirectPath(Protocol):
    """A mechanism that reaches peers via other members, such as `mesh.relay`."""

    @property
    def is_open(self) -> bool:
        """Whether this node forwards for peers."""

    def relays_in_use(self) -> Mapping[PublicKey, str]:
        """The peers reached via another member, and its name."""

    def untaken(self) -> Mapping[PublicKey, float | None]:
        """The peers reached only via another member, and for how many seconds their own tunnel has been down; None:
        since it is relayed.
        """


class IndirectPaths:
    """All such mechanisms of a node, possibly none."""

    def __init__(self, mechanisms: Sequence[IndirectPath]) -> None:
        self._mechanisms = mechanisms

    @property
    def is_open(self) -> bool:
        """Whether this node forwards for peers."""
        return any(one.is_open for one in self._mechanisms)

    def relays_in_use(self) -> dict[PublicKey, str]:
        """The peers reached via another member, and its name."""
        return {key: name for one in self._mechanisms for key, name in one.relays_in_use().items()}

    def untaken(self) -> dict[PublicKey, float | None]:
        """Like that of `IndirectPath`, over all mechanisms."""
        return {key: ago for one in self._mechanisms for key, ago in one.untaken().items()}
