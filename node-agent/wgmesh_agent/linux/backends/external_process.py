"""A wireguard-go process run by the tunnel pod, so that it outlives restarts and upgrades of the agent.

The agent requests it by a file next to the socket; the tunnel pod runs the program while the file exists. Therefore it
ends with neither the agent's process nor its container, and is not restarted once the request is withdrawn.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from wgmesh_agent.linux.backends.wireguard_go import SOCKETS, WireGuardGo, writing
from wgmesh_agent.wireguard.errors import UapiError

START_SECONDS = 60.0
POLL_SECONDS = 0.05


def request_file_of(name: str, directory: Path = SOCKETS) -> Path:
    """The file that requests interface `name`."""
    return directory / f"{name}.wanted"


class ExternalProcess(WireGuardGo):
    """The process of interface `name`, which this agent only requests."""

    async def start(self) -> None:
        """Requests it, and waits until the socket answers; raises `UapiError` if no tunnel pod runs here."""
        request = request_file_of(self._name, self.socket_path.parent)
        with writing(request.parent):
            request.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            request.touch(mode=0o600)
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self.connect():  # noqa: ASYNC110 - the other end is another process
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise UapiError(
                f"{self._name} was not created within {START_SECONDS:g} s: is the tunnel pod running on this node?"
            ) from error

    def withdraw_request(self) -> None:
        """Withdraws the request. Raises `UapiError`."""
        with writing(self.socket_path.parent):
            request_file_of(self._name, self.socket_path.parent).unlink(missing_ok=True)

    async def stop(self) -> None:
        """Withdraws the request, and waits until the process has ended."""
        self.withdraw_request()
        await self.wait_ended()
        self.detach()
        self.clear()

    def clear(self) -> None:
        """Removes its leftovers: a killed process leaves its socket."""
        self.withdraw_request()
        with writing(self.socket_path.parent):
            self.socket_path.unlink(missing_ok=True)
