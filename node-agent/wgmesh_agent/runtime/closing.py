"""Closes a connection immediately, whatever its state."""

from __future__ import annotations

from asyncio import StreamWriter


def abort(writer: StreamWriter) -> None:
    """Closes it, and discards data that its peer does not read.

    asyncio's own `abort` raises AttributeError if a connection was closed while it had waiting data that has been
    sent since.
    """
    writer.transport.close()
    if writer.transport.get_write_buffer_size():
        writer.transport.abort()
