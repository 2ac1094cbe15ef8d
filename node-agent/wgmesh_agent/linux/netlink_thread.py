"""Thread that owns a back end's sockets: netlink calls block, and only one task at a time may use a socket."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class NetlinkThread:
    """Runs functions one after another in its own thread, in the order of the calls."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `function`, or its exception. Cancelling the caller does not stop a running function."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """Ends the thread after the function that is running."""
        self._pool.shutdown(wait=False)
