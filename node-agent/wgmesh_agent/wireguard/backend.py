"""What the daemon asks of a data plane, whichever it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from wgmesh_agent.wireguard.diff import Change
from wgmesh_agent.wireguard.model import Device, InterfaceSpec


class BackendKind(Enum):
    """Where WireGuard runs; the value is what `--backend` takes."""

    KERNEL = "kernel"
    USERSPACE = "userspace"


@dataclass(frozen=True, slots=True)
class OpenResult:
    """How `open` found things: `adopted` if the interface was there and is used as it is, `differed` what of it was not
    as it is to be, in words.
    """

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
        """Make the interface, or adopt it; then set addresses, MTU, up and routes, each only where it
        differs.

        May be called again with another `spec` for the same interface. Raises `ForeignInterfaceError` if an
        interface of that name is not this program's.
        """

    async def read(self) -> Device:
        """The device as it is now. At 5,000 peers the event loop is not held for more than some
        milliseconds.
        """

    async def fingerprint(self) -> int:
        """A number that is another one as soon as the device's key or port, or the allowed IPs or the pre-shared key of
        a peer are others. It may be another one although nothing has changed. Costs a fraction of `read`.
        """

    async def apply(self, changes: Sequence[Change]) -> None:
        """Do `changes` in order. After an error, an earlier part of them may be done: read and diff again."""

    async def close(self) -> None:
        """Let go: nothing of the data plane changes. May be called twice."""

    async def destroy(self) -> None:
        """Remove this program's interface with its routes, and nothing else; nothing to do if it is not
        there.
        """
