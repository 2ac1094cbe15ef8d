"""Prints what leaves by an interface for a network, run inside a lab host: the unix seconds of each packet, one a line.

Its arguments: the interface, and the IPv4 network. It says `ready` first, and runs until it is ended.
"""

import socket
import struct
import sys
from ipaddress import IPv4Address, ip_network

ALL_PROTOCOLS, IPV4, OUTGOING = 0x0003, 0x0800, 4
SO_TIMESTAMPNS = 35
"""The kernel's time of a packet, as a timespec (socket(7)): this program may be late."""
TIME = struct.Struct("@qq")

network = ip_network(sys.argv[2])
with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PROTOCOLS)) as tap:
    tap.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    tap.bind((sys.argv[1], ALL_PROTOCOLS))
    print("ready", flush=True)
    while True:
        packet, extras, _, (_, protocol, kind, *_) = tap.recvmsg(65536, 64)
        if protocol == IPV4 and kind == OUTGOING and IPv4Address(packet[16:20]) in network:
            seconds, nanoseconds = TIME.unpack(extras[0][2])
            print(seconds + nanoseconds / 1e9, flush=True)
