"""Routing netlink sockets (rtnetlink(7)) with errors as sentences."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from wgmesh_agent.runtime.borders import border
from wgmesh_agent.wireguard.errors import BackEndError, KernelError

ROUTING = border("routing netlink", "the kernel's responses about links, addresses, routes and rules")


class Rtnetlink(Protocol):
    """The methods used of pyroute2's `IPRoute`, which creates them at run time."""

    def link(self, command: str, **arguments: Any) -> Any: ...

    def addr(self, command: str, **arguments: Any) -> Any: ...

    def route(self, command: str, **arguments: Any) -> Any: ...

    def rule(self, command: str, **arguments: Any) -> Any: ...


@contextmanager
def open_rtnetlink(doing: str) -> Iterator[Rtnetlink]:
    """A routing netlink socket; an error of the kernel becomes a `KernelError` that states what was being done
    (`doing`).
    """
    try:
        with IPRoute() as ipr:  # type: ignore[no-untyped-call]
            yield cast(Rtnetlink, ipr)
    except NetlinkError as error:
        reason = str(error.args[1]) if len(error.args) > 1 else str(error)
        advice = ": root (CAP_NET_ADMIN) is needed" if error.code in (errno.EPERM, errno.EACCES) else ""
        raise KernelError(f"{doing}: the kernel rejected it: {reason}{advice}") from error
    except OSError as error:
        raise KernelError(f"{doing}: {error.strerror or error}") from error
    except BackEndError:
        raise
    except Exception as error:
        # A response of unexpected form, from a kernel that is newer than this program.
        ROUTING.reject(type(error).__name__, "the kernel", f"{doing}: {error}")
        raise KernelError(f"{doing}: malformed response of the kernel: {error!r}") from error
