"""Routing netlink sockets (rtnetlink(7)), whose errors are sentences."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from wgmesh_agent.runtime.borders import border
from wgmesh_agent.wireguard.errors import BackEndError, KernelError

ROUTING = border("routing netlink", "the kernel's answers about links, addresses, routes and rules")


class Rtnetlink(Protocol):
    """What is used of pyroute2's `IPRoute`, which makes these methods as it runs."""

    def link(self, command: str, **arguments: Any) -> Any: ...

    def addr(self, command: str, **arguments: Any) -> Any: ...

    def route(self, command: str, **arguments: Any) -> Any: ...

    def rule(self, command: str, **arguments: Any) -> Any: ...


@contextmanager
def open_rtnetlink(doing: str) -> Iterator[Rtnetlink]:
    """A routing netlink socket; what the kernel refuses becomes a `KernelError` that says it was `doing`
    so.
    """
    try:
        with IPRoute() as ipr:  # type: ignore[no-untyped-call]
            yield cast(Rtnetlink, ipr)
    except NetlinkError as error:
        reason = str(error.args[1]) if len(error.args) > 1 else str(error)
        advice = ": root (CAP_NET_ADMIN) is needed" if error.code in (errno.EPERM, errno.EACCES) else ""
        raise KernelError(f"{doing}: the kernel refused: {reason}{advice}") from error
    except OSError as error:
        raise KernelError(f"{doing}: {error.strerror or error}") from error
    except BackEndError:
        raise
    except Exception as error:
        # An answer in a shape that nobody foresaw, of a kernel that is newer than this program.
        ROUTING.reject(type(error).__name__, "the kernel", f"{doing}: {error}")
        raise KernelError(f"{doing}: the kernel's answer was not understood: {error!r}") from error
