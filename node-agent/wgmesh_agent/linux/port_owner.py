"""Owner of a port of this machine, from /proc like `ss -tulpn`. Reads files; blocks."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROC = Path("/proc")
_LISTENS = {"tcp": "0A", "udp": "07"}
"""States in the kernel's tables: of a listening TCP socket, and of a bound UDP socket."""
MOST_NAMED = 3


class PortTaken(OSError):
    """A port that this agent needs is in use; names its owner and the setting."""

    def __init__(self, ports: str, setting: str, holders: str) -> None:
        super().__init__(
            errno.EADDRINUSE, f"{ports} ({setting}) is in use by {holders}: stop that, or set another port"
        )


@contextmanager
def needing(port: int, protocols: Sequence[str], setting: str) -> Iterator[None]:
    """Raises PortTaken if the block finds a port in use: `tcp`, `udp` or both."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise taken(port, protocols, setting) from error


def taken(port: int, protocols: Sequence[str], setting: str, proc: Path = PROC) -> PortTaken:
    """The error for a port that could not be bound."""
    names = " and ".join(protocol.upper() for protocol in protocols)
    return PortTaken(f"{names} port {port}", setting, holders(port, protocols, proc))


def holders(port: int, protocols: Sequence[str], proc: Path = PROC) -> str:
    """Programs by name and process, such as `dockerd (process 812)`."""
    inodes: set[str] = set()
    for protocol in protocols:
        inodes |= _sockets(proc, protocol, port)
    found = sorted(_programs(proc, inodes - {"0"}))
    if found:
        return ", ".join(found[:MOST_NAMED])
    return (
        "the kernel, as for WireGuard's ports" if "0" in inodes else "a program that is not visible from here"
    )


def _sockets(proc: Path, protocol: str, port: int) -> set[str]:
    """Inodes of the sockets that have this port, of either family."""
    found = set()
    for table in (protocol, f"{protocol}6"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == _LISTENS[protocol]:
                    found.add(fields[9])
    return found


def _programs(proc: Path, inodes: set[str]) -> Iterator[str]:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    if not wanted:
        return
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        # Processes may end while they are read, and those of other users may be inaccessible.
        with contextlib.suppress(OSError):
            if any(_target(descriptor) in wanted for descriptor in (process / "fd").iterdir()):
                yield f"{(process / 'comm').read_text().strip()} (process {process.name})"


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""
