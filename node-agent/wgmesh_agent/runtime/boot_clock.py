"""Seconds since boot, including suspend: the time base for ages of sessions.

`time.monotonic` stops while a machine is suspended: eight hours later, sessions that expired long ago would look as
fresh as before. Compare WireGuard/wireguard-go#29.
"""

from __future__ import annotations

import time


def seconds() -> float:
    """CLOCK_BOOTTIME (clock_gettime(2)); like `time.monotonic`, but continues during suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
