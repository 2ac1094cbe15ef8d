"""The interface of a data plane backend."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from wgmesh_agent.wireguard.diff import Change
from wgmesh_agent.wireguard.model import Device, InterfaceSpec


class BackendKind(Enum):
    """Where WireGuard runs; the value is that of `--backend`."""

    KERNEL = "kernel"
    USERSPACE = "userspace"


@dataclass(frozen=True, slots=True)
class OpenResult:
    """Result of `open`: `adopted` if an existing interface is used, `differed` lists the settings that had to be
    changed."""

    adopted: bool
    differed: tuple[str, ...] = ()


class Backend(Protocol):
    """One WireGuard interface. Methods run one at a time, in the order called; all raise `BackEndError`.

    `close` (or the death of this process) leaves interface, routes and traffic as they are.
    """

    @property
    def kind(self) -> BackendKind: ...

    @property
    def name(self) -> str:
        """The interface's name."""

    async def open(self, spec: InterfaceSpec) -> OpenResult:
        """Creates the interface, or adopts it; then sets addresses, MTU, up and routes, each only where it differs.

        May be called again with another `spec` for the same interface. Raises `ForeignInterfaceError` if an
        interface of that name does not belong to this program.
        """

    async def read(self) -> Device:
        """Returns the current state of the device. At 5,000 peers the event loop is blocked for a few milliseconds
        only."""

    async def fingerprint(self) -> int:
        """Returns a number that changes with the device's key or port, and with the allowed IPs or the pre-shared
        key of a peer. It may also change without any change. Costs a fraction of `read`."""

    async def apply(self, changes: Sequence[Change]) -> None:
        """Applies `changes` in order. After an error, an earlier part of them may have been applied: read and diff
        again."""

    async def close(self) -> None:
        """Releases the backend: nothing of the data plane changes. May be called twice."""

    async def destroy(self) -> None:
        """Removes this program's interface with its routes, and nothing else; a no-op if it does not exist."""
