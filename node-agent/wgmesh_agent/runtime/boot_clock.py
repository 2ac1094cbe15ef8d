"""Seconds since boot, suspend included: what ages of sessions are counted in.

`time.monotonic` stands still while a machine is suspended: eight hours later, sessions that ended long ago would
look as fresh as before. Compare WireGuard/wireguard-go#29.
"""

from __future__ import annotations

import time


def seconds() -> float:
    """CLOCK_BOOTTIME (clock_gettime(2)); as `time.monotonic`, and it goes on in suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
