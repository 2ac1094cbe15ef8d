"""Keeps the Mesh service of a bootstrap node bound: an occupied port prevents admission and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from wgmesh_agent.mesh.join.start_conditions import sentence
from wgmesh_agent.runtime.log_on_change import LogOnChange
from wgmesh_agent.settings.model import HostPort

log = structlog.get_logger()
LOOK_SECONDS = 2.0
RETRY_SECONDS = 5.0
TRIED_SECONDS = 5.0
"""A service that cannot be bound is reported after this time: a restarting agent gets the port a moment later."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Whether joiners are served, and why not; `is_lasting` after some seconds of attempts."""

    is_serving: bool
    problem: str = ""
    is_lasting: bool = True


class Service(Protocol):
    """The service to bind: `join.bootstrap.BootstrapServer`."""

    async def start(self, bind: HostPort) -> None:
        """Raises OSError with the reason if it cannot be bound."""

    async def stop(self) -> None:
        """Stops serving."""


class CurrentAddress(Protocol):
    """The address to listen on: `join.service_address.ServiceAddress`."""

    async def current(self) -> HostPort:
        """The current one; it may change with the machine's addresses."""


class JoinServing:
    """Binding of one session; call `attempt` once, then `run` beside the session."""

    def __init__(
        self,
        service: Service,
        address: CurrentAddress,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._address = address
        self._clock = clock
        self._bound: HostPort | None = None
        self._fault = LogOnChange()
        self._failing_since = 0.0

    @property
    def state(self) -> Serving:
        if self._bound is not None:
            return Serving(True)
        lasting = self._fault.why != "" and self._clock() - self._failing_since >= TRIED_SECONDS
        return Serving(False, self._fault.why, lasting)

    async def attempt(self) -> bool:
        """Binds the current address, if not bound yet; returns whether it is served."""
        wanted = await self._address.current()
        if self._bound == wanted:
            return True
        if self._bound is not None:
            log.warning("join service moved to another address", before=str(self._bound), now=str(wanted))
            await self._service.stop()
            self._bound = None
        try:
            await self._service.start(wanted)
        except OSError as error:
            self._failed(sentence(error))
            return False
        if self._fault.is_over():
            log.warning("join service available again", bind=str(wanted))
        self._bound = wanted
        return True

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            is_served = await self.attempt()
            await asyncio.sleep(LOOK_SECONDS if is_served else RETRY_SECONDS)

    async def stop(self) -> None:
        await self._service.stop()

    def _failed(self, problem: str) -> None:
        if not self._fault.why:
            self._failing_since = self._clock()
        if self._fault.is_new(problem):
            log.error("join service unavailable", error=problem, retry_seconds=RETRY_SECONDS)
