"""Prints packets on an interface, run in a node's network: one packet per line in hex, without the link's header.

Its argument: the interface. Prints "ready" first; continues until SIGTERM, and then prints the packets up to it.
"""

import select
import signal
import socket
import sys

ALL_PROTOCOLS = 0x0003
BUFFER_BYTES = 8 << 20
SO_RCVBUFFORCE = 33
LOOK_SECONDS = 0.05

told: list[int] = []
signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PROTOCOLS)) as tap:
    tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    tap.bind((sys.argv[1], ALL_PROTOCOLS))
    tap.setblocking(False)
    print("ready", flush=True)
    ending = False
    while not ending:
        ending = bool(told)
        select.select([tap], [], [], 0 if ending else LOOK_SECONDS)
        try:
            while True:
                print(tap.recv(65536).hex())
        except BlockingIOError:
            # All packets so far were printed; more follow only on request.
            sys.stdout.flush()
