"""A tunnel run by another program: requested by a file, and released also when that program has terminated
permanently.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from wgmesh_agent.linux.backends import userspace
from wgmesh_agent.linux.backends.external_process import ExternalProcess, request_file_of
from wgmesh_agent.linux.backends.userspace import UserspaceBackend
from wgmesh_agent.wireguard.errors import UapiError
from wgmesh_agent.wireguard.model import InterfaceSpec

NAME = "wgtest"
SPEC = InterfaceSpec(NAME, (ip_interface("10.232.1.1"),), (ip_network("10.232.0.0/16"),), 1420)


class Mortal(ExternalProcess):
    """Is there when first asked for, dies at once, and is never seen again."""

    asked = 0
    seen = False

    async def start(self) -> None:
        self.asked += 1
        await super().start()

    async def connect(self) -> bool:
        is_first = self.asked == 1 and not self.seen
        self.seen = self.seen or is_first
        return is_first

    async def wait_ended(self) -> None:
        return None


async def until_asked_again(process: Mortal) -> None:
    while process.asked < 2:  # noqa: ASYNC110 - nothing signals it
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("end", ["close", "destroy"])
async def test_an_agent_that_waits_for_a_holder_that_has_gone_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(userspace.UserspaceBackend, "_link", lambda self: None)
    monkeypatch.setattr(userspace.UserspaceBackend, "_settle", lambda self, spec: None)
    monkeypatch.setattr(userspace.UserspaceBackend, "_remove_link", lambda self: False)
    process = Mortal(NAME, "wireguard-go", tmp_path)
    backend = UserspaceBackend(NAME, process=process)
    async with asyncio.timeout(10):
        await backend.open(SPEC)
        await until_asked_again(process)
        assert request_file_of(NAME, tmp_path).exists()
        process.socket_path.touch()
        await getattr(backend, end)()
    assert request_file_of(NAME, tmp_path).exists() == (end == "close")
    assert process.socket_path.exists() == (end == "close")


class Stumbling(ExternalProcess):
    """Answers at the first request; watching it and finding it again raise unforeseen exceptions."""

    watched = 0
    stood = 0

    async def connect(self) -> bool:
        return self.stood > 0

    async def start(self) -> None:
        self.stood += 1
        if self.stood == 2:
            raise RuntimeError("not foreseen either")

    async def wait_ended(self) -> None:
        self.watched += 1
        if self.watched == 1:
            raise ValueError("not foreseen")
        self.stood = max(self.stood, 1)
        await asyncio.sleep(3600 if self.watched > 3 else 0)


async def test_supervision_outlives_whatever_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(userspace.UserspaceBackend, "_link", lambda self: None)
    monkeypatch.setattr(userspace.UserspaceBackend, "_settle", lambda self, spec: None)
    told: list[str] = []
    process = Stumbling(NAME, "wireguard-go", tmp_path)
    backend = UserspaceBackend(NAME, process=process, on_trouble=lambda error: told.append(str(error)))
    await backend.open(SPEC)
    async with asyncio.timeout(10):
        while len(told) < 2:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.001)
    assert "ValueError('not foreseen')" in told[0]
    await backend.close()


async def test_a_folder_that_takes_no_request_is_an_error_of_the_back_end(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = ExternalProcess(NAME, "wireguard-go", tmp_path / "file")
    for call in (process.start, process.stop):
        with pytest.raises(UapiError):
            await call()
