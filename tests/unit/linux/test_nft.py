"""Running `nft`: whatever happens to the program, the agent continues and reports the error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from wgmesh_agent.linux import nft
from wgmesh_agent.linux.nft import run_nft


class Slow:
    """A process that ends between the end of our patience and the signal."""

    returncode = 0

    async def communicate(self, text: bytes) -> tuple[bytes, bytes]:
        await asyncio.sleep(60)
        return b"", b""

    def kill(self) -> None:
        raise ProcessLookupError

    async def wait(self) -> int:
        return 0


async def test_one_that_ends_just_when_it_is_given_up_is_only_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(*arguments: str, **options: object) -> Slow:
        return Slow()

    monkeypatch.setattr(nft, "NFT_SECONDS", 0.01)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    assert await run_nft("list", "tables") == "nft did not end within 0.01 s"


async def test_one_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(nft, "PROGRAM", str(program))
    monkeypatch.setattr(nft, "NFT_SECONDS", 0.2)
    assert "did not end within" in await run_nft("list", "tables")


async def test_one_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nft, "PROGRAM", str(tmp_path / "none"))
    assert "cannot run here" in await run_nft("list", "tables")


async def test_one_that_runs_when_the_agent_is_told_to_end_has_ended_before_removal_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It put its table in place after that had been removed."""
    program, begun, late = tmp_path / "nft", tmp_path / "begun", tmp_path / "late"
    program.write_text(f"#!/bin/sh\n: >{begun}\nsleep 0.3\n: >{late}\n")
    program.chmod(0o755)
    kept = []
    start_process = asyncio.create_subprocess_exec

    async def start(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        # The garbage collector would end it, at some time.
        kept.append(await start_process(*arguments, **options))
        return kept[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    monkeypatch.setattr(nft, "PROGRAM", str(program))
    task = asyncio.create_task(run_nft("-f", "-", text="table"))
    async with asyncio.timeout(20):
        while not begun.exists():  # noqa: ASYNC110 - the other end is another process
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    begun.unlink()
    assert not late.exists()
    # The next check finds that it stays so.
    await asyncio.sleep(0.5)
    assert not late.exists()
