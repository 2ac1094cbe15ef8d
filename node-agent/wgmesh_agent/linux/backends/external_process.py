"""A `wireguard-go` that somebody else runs: in Kubernetes, a pod that agents' restarts and upgrades leave alone.

The agent asks for it by a file beside the socket; whoever holds the tunnels starts the program while the file is
there. So it ends with neither the agent's process nor its container, and does not come back once it is not wanted.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from wgmesh_agent.linux.backends.wireguard_go import SOCKETS, WireGuardGo, writing
from wgmesh_agent.wireguard.errors import UapiError

START_SECONDS = 60.0
POLL_SECONDS = 0.05


def request_file_of(name: str, directory: Path = SOCKETS) -> Path:
    """The file that asks for interface `name`."""
    return directory / f"{name}.wanted"


class ExternalProcess(WireGuardGo):
    """The process behind interface `name`, which this one only asks for."""

    async def start(self) -> None:
        """Asks, and waits until the socket answers; raises `UapiError` if nobody holds tunnels here."""
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
                f"nobody made {self._name} within {START_SECONDS:g} s: is the tunnel pod running on this node?"
            ) from error

    def withdraw_request(self) -> None:
        """Asks no longer. Raises `UapiError`."""
        with writing(self.socket_path.parent):
            request_file_of(self._name, self.socket_path.parent).unlink(missing_ok=True)

    async def stop(self) -> None:
        """Asks no longer, and waits until the process has gone."""
        self.withdraw_request()
        await self.wait_ended()
        self.detach()
        self.clear()

    def clear(self) -> None:
        """Removes what it left behind: one that was killed leaves its socket."""
        self.withdraw_request()
        with writing(self.socket_path.parent):
            self.socket_path.unlink(missing_ok=True)
