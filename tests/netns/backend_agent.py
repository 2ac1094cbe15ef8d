"""A stand-in for the agent on one test host: executes requests on a back end, by pickles over its standard streams.

A request is (method, arguments); an answer is (result, None) or (None, error).
"""

import asyncio
import os
import pickle
import struct
import sys
import time
from typing import Any, BinaryIO

from wgmesh_agent.linux import route_lookup
from wgmesh_agent.linux.backends import backend_selection
from wgmesh_agent.linux.route_lookup import UnderlayRoute
from wgmesh_agent.wireguard.backend import Backend
from wgmesh_agent.wireguard.diff import diff
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.model import DesiredDevice

LENGTH = struct.Struct("=I")
_TICK_SECONDS = 0.001


class Agent:
    def __init__(self) -> None:
        self.backend: Backend | None = None
        self.restarts = 0
        self.troubles: list[BackEndError] = []
        self.worst_pause = 0.0
        self._watch: asyncio.Task[None] | None = None

    async def choose(self, preference: str, name: str) -> Any:
        choice = await backend_selection.select_backend(preference, name)
        self.backend = choice.backend(name, on_restarted=self._restarted, on_trouble=self.troubles.append)
        return choice

    def _restarted(self) -> None:
        self.restarts += 1

    async def converge(self, desired: DesiredDevice) -> Any:
        """Read, diff and apply until nothing is left to do; what was done, and seconds by step."""
        assert self.backend is not None
        own = desired.private_key.public()
        began = time.perf_counter()
        actual = await self.backend.read()
        read = time.perf_counter()
        changes = diff(desired, actual, now_unix=time.time(), own_public=own)
        compared = time.perf_counter()
        await self.backend.apply(changes)
        done = time.perf_counter()
        return changes, {"read": read - began, "diff": compared - read, "apply": done - compared}

    async def pause(self) -> float:
        """The event loop's longest pause in seconds since last asked; the first question begins the watch."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_pauses())
        worst, self.worst_pause = self.worst_pause, 0.0
        return worst

    async def restart_count(self) -> int:
        return self.restarts

    async def trouble(self) -> list[str]:
        return [str(one) for one in self.troubles]

    async def descriptors(self) -> int:
        return sum(1 for _ in os.scandir("/proc/self/fd"))

    async def route_to(self, destination: Any) -> UnderlayRoute:
        return route_lookup.lookup_route(destination)

    async def local_addresses(self, interface: str) -> Any:
        return await route_lookup.local_addresses(interface)

    def end(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _watch_pauses(self) -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(_TICK_SECONDS)
            self.worst_pause = max(self.worst_pause, time.perf_counter() - asked - _TICK_SECONDS)


async def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    agent = Agent()
    while header := await asyncio.to_thread(requests.read, LENGTH.size):
        method, arguments = pickle.loads(requests.read(LENGTH.unpack(header)[0]))
        target = agent if hasattr(Agent, method) else agent.backend
        answer: tuple[Any, BaseException | None]
        try:
            answer = (await getattr(target, method)(*arguments), None)
        except Exception as error:
            answer = (None, error)
        body = pickle.dumps(answer)
        answers.write(LENGTH.pack(len(body)) + body)
        answers.flush()
    agent.end()


if __name__ == "__main__":
    asyncio.run(serve(sys.stdin.buffer, sys.stdout.buffer))
