"""Sends pseudo-random bytes over one TCP connection and takes in as many at the same time; prints what came, hashed.

Usage: transfer.py listen|connect ADDRESS PORT BYTES SEED SECONDS    prints the SHA-256 and the seconds
"""

import hashlib
import random
import socket
import sys
import threading
import time


def main() -> None:
    role, address, port, count, seed, seconds = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if role == "listen":
        with socket.create_server((address, port), family=family) as server:
            server.settimeout(seconds)
            connection, _ = server.accept()
    else:
        connection = _connected(address, port, seconds)
    with connection:
        connection.settimeout(seconds)
        begun = time.monotonic()
        sending = threading.Thread(target=connection.sendall, args=(random.Random(seed).randbytes(count),))
        sending.start()
        received, got = hashlib.sha256(), 0
        while got < count and (chunk := connection.recv(min(65536, count - got))):
            received.update(chunk)
            got += len(chunk)
        sending.join()
        print(received.hexdigest(), f"{time.monotonic() - begun:.2f}")


def _connected(address: str, port: int, seconds: float) -> socket.socket:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((address, port), timeout=5)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


main()
