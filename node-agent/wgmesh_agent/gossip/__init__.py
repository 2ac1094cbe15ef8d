"""memberlist and serf without I/O: bytes and `now` in, bytes and events out.

No module here touches a socket, a clock or global randomness; the asyncio shell lives outside this package.
"""
