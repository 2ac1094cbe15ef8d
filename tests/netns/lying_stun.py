"""A STUN server that lies, run inside a lab host; its argument says how, its second one the port.

Every answer carries the asker's transaction id unless the lie is about that.
"""

import socket
import struct
import sys
from collections.abc import Callable
from ipaddress import IPv4Address

MAPPED_ADDRESS, XOR_MAPPED_ADDRESS = 0x0001, 0x0020
BINDING_RESPONSE, BINDING_ERROR = 0x0101, 0x0111


def message(kind: int, transaction: bytes, *attributes: bytes) -> bytes:
    body = b"".join(attributes)
    return struct.pack("!HH", kind, len(body)) + transaction + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value


def mapped(address: str, port: int = 54540) -> bytes:
    return attribute(MAPPED_ADDRESS, struct.pack("!BBH", 0, 1, port) + IPv4Address(address).packed)


LIES: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda transaction: b"\xff" * 200,
    "empty": lambda transaction: b"",
    "half a header": lambda transaction: message(BINDING_RESPONSE, transaction)[:11],
    "no attributes": lambda transaction: message(BINDING_RESPONSE, transaction),
    "attribute past the end": lambda transaction: message(
        BINDING_RESPONSE, transaction, struct.pack("!HH", 1, 60_000)
    ),
    "length past the end": lambda transaction: struct.pack("!HH", BINDING_RESPONSE, 60_000) + transaction,
    "a thousand empty attributes": lambda transaction: message(
        BINDING_RESPONSE, transaction, *[struct.pack("!HH", 0x8022, 0)] * 1000
    ),
    "unknown attributes": lambda transaction: message(
        BINDING_RESPONSE, transaction, attribute(0x7777, b"what"), attribute(0x8888, b"now")
    ),
    "an error": lambda transaction: message(BINDING_ERROR, transaction, attribute(0x0009, b"\0\0\4\0no")),
    "another's transaction": lambda transaction: message(BINDING_RESPONSE, b"x" * 16, mapped("10.0.0.7")),
    "inside the mesh": lambda transaction: message(BINDING_RESPONSE, transaction, mapped("10.232.0.9")),
    "loopback": lambda transaction: message(BINDING_RESPONSE, transaction, mapped("127.0.0.1")),
    "multicast": lambda transaction: message(BINDING_RESPONSE, transaction, mapped("224.0.0.1")),
    "nowhere": lambda transaction: message(BINDING_RESPONSE, transaction, mapped("0.0.0.0")),
}

if __name__ == "__main__":
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", int(sys.argv[2])))
        while True:
            data, asker = server.recvfrom(2048)
            server.sendto(LIES[sys.argv[1]](data[4:20]), asker)
