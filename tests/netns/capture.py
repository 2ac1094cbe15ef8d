"""Prints what goes over an interface, run inside a lab host: one packet a line in hex, without the link's header.

Its arguments: the interface, and how many packets.
"""

import socket
import sys

ALL_PROTOCOLS = 0x0003
LINE_SECONDS = 20.0

with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PROTOCOLS)) as tap:
    tap.bind((sys.argv[1], ALL_PROTOCOLS))
    tap.settimeout(LINE_SECONDS)
    for _ in range(int(sys.argv[2])):
        print(tap.recv(65536).hex())
