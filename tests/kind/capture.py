"""Prints what goes over an interface, run in a node's network: one packet a line in hex, without the link's header.

Its argument: the interface. Says "ready" first; goes on until it is killed.
"""

import socket
import sys

ALL_PROTOCOLS = 0x0003
BUFFER_BYTES = 8 << 20

with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PROTOCOLS)) as tap:
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    tap.bind((sys.argv[1], ALL_PROTOCOLS))
    print("ready", flush=True)
    while True:
        print(tap.recv(65536).hex(), flush=True)
