"""`wgmesh_agent.linux.backends.wireguard_go` with stand-ins for `wireguard-go`."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from wgmesh_agent.linux.backends.wireguard_go import MAX_LOG_BYTES, WireGuardGo, stderr_tail
from wgmesh_agent.wireguard.errors import BackEndUnavailableError, UapiError

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def process(directory: Path, program: str = "/nonexistent/wireguard-go") -> WireGuardGo:
    return WireGuardGo("wgtest", program, directory)


async def serve(directory: Path, handle: Handler) -> asyncio.Server:
    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handle(reader, writer)
        writer.close()

    return await asyncio.start_unix_server(handled, directory / "wgtest.sock")


async def test_a_program_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho $LOG_LEVEL\necho $@ >&2\necho no such device >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(UapiError, match="terminated at once: error / -f wgtest / no such device"):
        await process(tmp_path, str(program)).start()


BOX = """┌──────────────────────────┐
│   please visit:          │
└──────────────────────────┘
"""


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            f"{BOX}ERROR: (wg0) 2026/11/23 01:04:18 Failed to create TUN device: /dev/net/tun does not exist\n",
            "Failed to create TUN device: /dev/net/tun does not exist",
        ),
        (f"{BOX}ERROR: (wg0) 2026/11/23 01:04:18 a\nINFO: b\nERROR: (wg0) 2026/11/23 01:04:19 c\n", "a / c"),
        ("1\n2\n\n3\n4\n", "2 / 3 / 4"),
        (BOX, "it printed nothing"),
        ("", "it printed nothing"),
    ],
)
def test_the_last_words_are_the_error_not_the_advice_before_it(said: str, words: str) -> None:
    assert stderr_tail(said) == words


async def test_what_an_earlier_one_said_is_not_this_one_s_last_word(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho this time >&2\n")
    program.chmod(0o755)
    (tmp_path / "wgtest.log").write_text("ERROR: another time\n")
    with pytest.raises(UapiError, match=r"terminated at once: this time$"):
        await process(tmp_path, str(program)).start()


async def test_a_program_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(BackEndUnavailableError, match="cannot start /nonexistent/wireguard-go: No such file"):
        await process(tmp_path).start()


async def test_nobody_behind_the_socket_is_no_connection(tmp_path: Path) -> None:
    assert not await process(tmp_path).connect()
    server = await serve(tmp_path, lambda reader, writer: asyncio.sleep(0))
    server.close()
    await server.wait_closed()
    assert not await process(tmp_path).connect()


async def test_an_answer_ends_at_its_empty_line(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\n\n") == b"get=1\n\n"
        writer.write(b"listen_port=1\n")
        await writer.drain()
        writer.write(b"errno=0\n\n")

    async with await serve(tmp_path, answer):
        asked = process(tmp_path)
        assert await asked.exchange(b"get=1\n\n") == b"listen_port=1\nerrno=0\n\n"
        asked.detach()


async def test_operations_share_a_connection_until_one_is_refused(tmp_path: Path) -> None:
    answers = iter([b"errno=0\n\n", b"listen_port=1\nerrno=0\n\n", b"errno=-98\n\n", b"errno=0\n\n"])
    connections, ended = 0, asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.read(100):
            writer.write(next(answers))
        ended.release()

    async with await serve(tmp_path, answer):
        asked = process(tmp_path)
        assert await asked.exchange(b"set=1\n\n") == b"errno=0\n\n"
        assert await asked.exchange(b"get=1\n\n") == b"listen_port=1\nerrno=0\n\n"
        assert connections == 1
        assert await asked.exchange(b"set=1\n\n") == b"errno=-98\n\n"
        assert await asked.exchange(b"set=1\n\n") == b"errno=0\n\n"
        assert connections == 2
        asked.detach()
        for _ in range(connections):
            await ended.acquire()


async def test_an_answer_cut_short_is_an_error(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"listen_port=1\n")

    async with await serve(tmp_path, answer):
        with pytest.raises(UapiError, match="does not answer at"):
            await process(tmp_path).exchange(b"get=1\n\n")


async def test_nobody_to_ask_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UapiError, match="does not answer at"):
        await process(tmp_path).exchange(b"get=1\n\n")


async def test_the_end_of_the_process_is_seen_by_its_connection(tmp_path: Path) -> None:
    end = asyncio.Event()

    async def live(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await end.wait()

    async with await serve(tmp_path, live):
        watched = process(tmp_path)
        assert await watched.connect()
        watching = asyncio.create_task(watched.wait_ended())
        await asyncio.sleep(0)
        assert not watching.done()
        end.set()
        await asyncio.wait_for(watching, 5)
        watched.detach()


def test_output_is_emptied_when_it_grows_too_long_and_only_then(tmp_path: Path) -> None:
    one = process(tmp_path)
    one.trim_log()
    one.log_path.write_bytes(b"x" * MAX_LOG_BYTES)
    one.trim_log()
    assert one.log_path.stat().st_size == MAX_LOG_BYTES
    one.log_path.write_bytes(b"x" * (MAX_LOG_BYTES + 1))
    one.trim_log()
    assert one.log_path.read_bytes() == b""


def test_only_what_a_process_of_ours_left_is_cleared(tmp_path: Path) -> None:
    one = process(tmp_path)
    one.socket_path.touch()
    one.clear()
    assert one.socket_path.exists()
    one.log_path.touch()
    one.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", ["a file", "a file in the way"])
async def test_a_folder_of_sockets_that_is_none_is_an_error_of_the_back_end(
    tmp_path: Path, state: str
) -> None:
    folder = tmp_path / "sockets"
    folder.touch()
    broken = process(folder if state == "a file" else folder / "deeper")
    with pytest.raises(UapiError, match="Not a directory"):
        await broken.connect()
    with pytest.raises(UapiError, match="cannot write in"):
        await broken.start()


async def test_a_program_whose_socket_cannot_be_used_is_ended(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 60\n")
    program.chmod(0o755)
    started = process(tmp_path, str(program))
    # A link that leads to itself: ELOOP, neither missing nor refused.
    started.socket_path.symlink_to(started.socket_path)
    with pytest.raises(UapiError, match="cannot use"):
        await started.start()
    assert not has_children()
