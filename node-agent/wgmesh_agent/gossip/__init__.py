"""memberlist and serf without I/O, and the asyncio shell around them, `aio`: bytes and `now` in, bytes and events out.

No module outside `aio` touches a socket, a clock or global randomness.
"""
