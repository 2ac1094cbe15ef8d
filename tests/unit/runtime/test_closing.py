"""A connection is ended whatever has become of it."""

from __future__ import annotations

import asyncio
import contextlib

from wgmesh_agent.runtime.closing import abort

MUCH = 8 << 20


async def test_one_that_closed_after_its_last_bytes_went_out_may_be_ended_again() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(bytes(MUCH))
            writer.close()
            await writer.wait_closed()
            abort(writer)
            ended.set_result(None)
        except BaseException as error:
            ended.set_exception(error)
            raise

    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        assert len(await reader.read(-1)) == MUCH
        await asyncio.wait_for(ended, 5)
        writer.close()


async def test_one_whose_peer_does_not_read_is_ended_at_once() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(MUCH))
        abort(writer)
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2], limit=1024)
        await asyncio.wait_for(ended.wait(), 5)
        with contextlib.suppress(ConnectionResetError):
            assert len(await asyncio.wait_for(reader.read(-1), 5)) < MUCH
        writer.close()
