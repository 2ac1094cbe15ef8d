"""Peers without a direct path, as the mechanisms that carry their traffic report them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from wgmesh_agent.wireguard.keys import PublicKey


class IndirectPath(Protocol):
    """A mechanism that reaches peers through other members; `mesh.relay` is one."""

    @property
    def is_open(self) -> bool:
        """Whether this node forwards for others."""

    def relays_in_use(self) -> Mapping[PublicKey, str]:
        """The peers reached through another member, and its name."""

    def untaken(self) -> Mapping[PublicKey, float | None]:
        """The peers reached through another member alone, and for how many seconds their own tunnel has been silent;
        None: since then.
        """


class IndirectPaths:
    """All such mechanisms of a node, which may have none."""

    def __init__(self, mechanisms: Sequence[IndirectPath]) -> None:
        self._mechanisms = mechanisms

    @property
    def is_open(self) -> bool:
        """Whether this node forwards for others."""
        return any(one.is_open for one in self._mechanisms)

    def relays_in_use(self) -> dict[PublicKey, str]:
        """The peers reached through another member, and its name."""
        return {key: name for one in self._mechanisms for key, name in one.relays_in_use().items()}

    def untaken(self) -> dict[PublicKey, float | None]:
        """As that of `IndirectPath`, of all mechanisms."""
        return {key: ago for one in self._mechanisms for key, ago in one.untaken().items()}
