"""An attacker without certificate and key, run inside a lab host next to the mesh, until it is killed.

Its arguments: addresses of members. At each: connections to the join port that send nothing, or malformed data, or
start a TLS handshake and stop; malformed datagrams to the port of WireGuard.
"""

from __future__ import annotations

import random
import selectors
import socket
import sys
import time

JOIN_PORT, WIREGUARD_PORT = 5000, 54540
MOST_CONNECTIONS = 600
CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(32)
DATAGRAMS_A_SECOND = 200


def main(addresses: list[str]) -> None:
    rng = random.Random(1)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    held: list[socket.socket] = []
    selector = selectors.DefaultSelector()
    while True:
        address = rng.choice(addresses)
        if len(held) < MOST_CONNECTIONS:
            try:
                connection = socket.create_connection((address, JOIN_PORT), 0.2)
                connection.sendall(
                    rng.choice([b"", rng.randbytes(500), CLIENT_HELLO, b"PRI * HTTP/2.0\r\n\r\n"])
                )
                connection.setblocking(False)
                selector.register(connection, selectors.EVENT_READ)
                held.append(connection)
            except OSError:
                time.sleep(0.01)
        for key, _ in selector.select(0):
            connection = key.fileobj  # type: ignore[assignment]
            try:
                gone = not connection.recv(4096)
            except OSError:
                gone = True
            if gone:
                selector.unregister(connection)
                held.remove(connection)
                connection.close()
        try:
            udp.sendto(rng.randbytes(rng.choice([1, 32, 148, 1400])), (address, WIREGUARD_PORT))
        except OSError:
            time.sleep(0.01)
        time.sleep(1 / DATAGRAMS_A_SECOND)


if __name__ == "__main__":
    main(sys.argv[1:])
