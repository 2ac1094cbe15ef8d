"""Runs `nft`, and returns its error as text."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from typing import Protocol

PROGRAM = "nft"
NFT_SECONDS = 10.0


class Nft(Protocol):
    """The program `nft`; `SystemNft` is this machine's."""

    def is_installed(self) -> bool:
        """Whether the program that could have created a table exists."""

    async def run(self, *arguments: str, text: str = "") -> str:
        """Runs it; empty, or what it says is wrong."""


class SystemNft:
    """As the PATH has it."""

    def is_installed(self) -> bool:
        return shutil.which(PROGRAM) is not None

    async def run(self, *arguments: str, text: str = "") -> str:
        return await run_nft(*arguments, text=text)


async def run_nft(*arguments: str, text: str = "") -> str:
    """Runs `nft`; returns its error, or empty."""
    try:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        return f"{PROGRAM} cannot run here: {error.strerror} (Debian package nftables)"
    try:
        async with asyncio.timeout(NFT_SECONDS):
            _, said = await process.communicate(text.encode())
    except BaseException as error:
        # A process that continued could install a table that is being removed: removal must be last. On a machine that
        # is slow enough it has ended by now.
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if not isinstance(error, TimeoutError):
            raise
        return f"{PROGRAM} did not end within {NFT_SECONDS:g} s"
    if process.returncode == 0:
        return ""
    return said.decode(errors="replace").strip()[:300] or f"{PROGRAM} ended with status {process.returncode}"
