"""What the gossip core costs: codecs by the packet, and a whole cluster by the second of virtual time."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

from tests.bench.measurement import Measurement
from tests.sim.simulator import Simulator

from wgmesh_agent.gossip.wire.encryption import decrypt, encrypt
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.lzw import compress, decompress
from wgmesh_agent.gossip.wire.messages import Ack, Alive, Message, Ping, Suspect, decode, encode
from wgmesh_agent.gossip.wire.packet import PacketCodec

TITLE = "the gossip core: time of one packet (informs only)"
BATCHES, QUICK_BATCHES = 15, 5
BATCH_SECONDS = 0.1
PLAIN_BYTES = 1400
LZW_BYTES = 10_000
SIZE, QUICK_SIZE = 200, 50
SIMULATED_SECONDS, QUICK_SIMULATED_SECONDS = 10, 3
CONVERGED_SECONDS = 60.0
CALM_SECONDS = 10.0


def measure(quick: bool) -> list[Measurement]:
    """One thread, no sockets."""
    batches = QUICK_BATCHES if quick else BATCHES
    keyring = Keyring(bytes(range(32)))
    codec = PacketCodec(keyring, nonces=os.urandom)
    messages = _packet()
    parts = [encode(message) for message in messages]
    datagram = codec.encode(parts)
    plain = random.Random(1).randbytes(PLAIN_BYTES)
    sealed = encrypt(keyring, plain, b"", os.urandom)
    text = _states()
    packed = compress(text)
    size = QUICK_SIZE if quick else SIZE
    count = f"{len(parts)} messages, {len(datagram)} bytes"

    def microseconds(what: str, work: Callable[[], object]) -> Measurement:
        return Measurement(what, "µs", [seconds * 1e6 for seconds in _seconds_each(work, batches)])

    return [
        microseconds(
            f"encode and encrypt a packet ({count})", lambda: codec.encode([encode(m) for m in messages])
        ),
        microseconds(
            f"decrypt and decode a packet ({count})", lambda: [decode(p) for p in codec.decode(datagram)]
        ),
        microseconds(
            f"AES-GCM, encrypt {PLAIN_BYTES} bytes", lambda: encrypt(keyring, plain, b"", os.urandom)
        ),
        microseconds(f"AES-GCM, decrypt {PLAIN_BYTES} bytes", lambda: decrypt(keyring, sealed, b"")),
        microseconds(f"LZW, compress {len(text)} bytes of member states", lambda: compress(text)),
        microseconds(f"LZW, expand them ({len(packed)} bytes)", lambda: decompress(packed, 2 * len(text))),
        Measurement(
            f"a second of {size} idle nodes, simulated in one thread",
            "ms",
            _simulated_seconds(size, QUICK_SIMULATED_SECONDS if quick else SIMULATED_SECONDS),
        ),
    ]


def _packet() -> list[Message]:
    """A ping with news piggybacked, as nodes send them while a mesh grows."""
    meta = b"\xff" + bytes(range(180))
    alive = [
        Alive(3, f"node{n}", bytes((10, 232, 0, n)), 7946, meta, bytes((1, 5, 2, 2, 5, 4))) for n in range(4)
    ]
    return [
        Ping(71, "node3", bytes((10, 232, 0, 1)), 7946, "node1"),
        *alive,
        Suspect(4, "node9", "node1"),
        Ack(70, bytes(90)),
    ]


def _states() -> bytes:
    """Something like what a push-pull carries."""
    chance = random.Random(2)
    one = b"\x87\xa4Addr\xa4%b\xa4Meta\xda\x00\xb4\xff\xa3_pk\xac%s\xa4Name\xa5node%d\xa4Port\xcd\x1f\x0a\xa5State\x00"
    text = b""
    while len(text) < LZW_BYTES:
        text += one % (chance.randbytes(4), chance.randbytes(33).hex().encode(), chance.randrange(1000))
    return text[:LZW_BYTES]


def _seconds_each(work: Callable[[], object], batches: int) -> list[float]:
    """Seconds a call, one figure a batch of about a tenth of a second."""
    begun = time.perf_counter()
    work()
    calls = max(1, round(BATCH_SECONDS / (time.perf_counter() - begun)))
    found = []
    for _ in range(batches):
        begun = time.perf_counter()
        for _ in range(calls):
            work()
        found.append((time.perf_counter() - begun) / calls)
    return found


def _simulated_seconds(size: int, seconds: int) -> list[float]:
    """Milliseconds for each virtual second of a cluster that has come to rest."""
    simulator = Simulator(1, key=bytes(range(32)))
    simulator.cluster(size)
    simulator.run_until(simulator.all_alive, CONVERGED_SECONDS, "everybody sees everybody")
    simulator.run(CALM_SECONDS)
    found = []
    for _ in range(seconds):
        begun = time.perf_counter()
        simulator.run(1.0)
        found.append((time.perf_counter() - begun) * 1000)
    return found
