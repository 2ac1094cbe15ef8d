"""Ending a connection at once, whatever has become of it."""

from __future__ import annotations

from asyncio import StreamWriter


def abort(writer: StreamWriter) -> None:
    """Closes it, and throws away what its peer does not take.

    asyncio's own `abort` raises AttributeError where a connection was closed while bytes waited that went out since.
    """
    writer.transport.close()
    if writer.transport.get_write_buffer_size():
        writer.transport.abort()
