"""Pings an address until it answers, then prints when that was. Usage: pinger.py ADDRESS SECONDS

Prints `ready` once it listens, and at the first reply the monotonic clock in seconds, which all hosts of the lab share.
Unlike `ping` it continues while there is no route to the address yet. Exit status 1 if there was no reply in time.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import time

EVERY_SECONDS = 0.005
ECHO_REQUEST, ECHO_REPLY = 8, 0


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def request(number: int) -> bytes:
    head = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, 0, number & 0xFFFF)
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, checksum(head), 0, number & 0xFFFF)


def main() -> int:
    address, seconds = sys.argv[1], float(sys.argv[2])
    handle = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    handle.setblocking(False)
    print("ready", flush=True)
    deadline = time.monotonic() + seconds
    number = 0
    while (now := time.monotonic()) < deadline:
        # No route yet, or the interface is still down: that is what we wait out.
        with contextlib.suppress(OSError):
            handle.sendto(request(number), (address, 0))
        number += 1
        while (left := now + EVERY_SECONDS - time.monotonic()) > 0:
            if not select.select([handle], [], [], left)[0]:
                break
            with contextlib.suppress(BlockingIOError):
                packet, source = handle.recvfrom(2048)
                if source[0] == address and packet[(packet[0] & 15) * 4] == ECHO_REPLY:
                    print(time.monotonic(), flush=True)
                    return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
