"""memberlist and serf without I/O, and their asyncio shell, `aio`: bytes and `now` in, bytes and events out.

No module outside `aio` uses a socket, a clock or global randomness.
"""
