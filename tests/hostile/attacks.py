"""Messages of a hostile member in gossip: a generator for each attack, which yields the messages of each datagram.

Any member with the gossip key and a tunnel can send them; the sender encrypts and sends them from its own mesh address.
Drawn from a seed, so that a failing run can be repeated.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import msgpack
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wgmesh_agent.gossip.wire.messages import Alive, Dead, IndirectPing, Ping, Suspect, UserMessage, encode
from wgmesh_agent.gossip.wire.serf_messages import (
    JoinIntent,
    LeaveIntent,
    Query,
    QueryResponse,
    Relay,
    SerfMessage,
    UserEvent,
    encode_serf,
)
from wgmesh_agent.gossip.wire.tags import encode_tags
from wgmesh_agent.gossip.wire.versions import OWN_VERSIONS
from wgmesh_api.meshservice_pb2 import Admission, AdmissionRecord, Peer

Address = IPv4Address | IPv6Address
HUGE = (1 << 64) - 1
_msgpack: Any = msgpack  # untyped library
_OUTSIDE = IPv4Address("10.0.0.200")


@dataclass(frozen=True, slots=True)
class Facts:
    """The hostile member's knowledge of its mesh.

    Attributes:
        own: its name.
        address: its mesh address.
        victims: mesh addresses of the honest members, by name.
        keys: their WireGuard keys in base64.
        port: of gossip.
        incarnation: the last one received of a member.
        time: of its Lamport clock.
        outside: an address that is no member's.
    """

    own: str
    address: Address
    victims: dict[str, Address]
    keys: dict[str, str]
    port: int
    incarnation: Callable[[str], int]
    time: Callable[[], int]
    outside: Address = _OUTSIDE


Datagrams = Iterator[list[bytes]]
Attack = Callable[[Facts, random.Random], Datagrams]
ATTACKS: dict[str, Attack] = {}


def attack(name: str) -> Callable[[Attack], Attack]:
    def enter(generate: Attack) -> Attack:
        ATTACKS[name] = generate
        return generate

    return enter


def said(message: SerfMessage) -> bytes:
    return encode(UserMessage(encode_serf(message)))


def packed(fields: Mapping[str, Any]) -> bytes:
    """A msgpack map as Go writes it, of any values."""
    body: bytes = _msgpack.packb(fields, use_bin_type=False, unicode_errors="surrogateescape")
    return body


def raw(kind: int, **fields: Any) -> bytes:
    """A message of memberlist's with any values, also such as our own encoder does not write."""
    return bytes((kind,)) + packed(fields)


def raw_serf(kind: int, **fields: Any) -> bytes:
    """The same of serf's."""
    return encode(UserMessage(bytes((kind,)) + packed(fields)))


def alive(
    facts: Facts, name: str, incarnation: int, tags: dict[str, str] | None = None, **changes: Any
) -> bytes:
    values: dict[str, Any] = {
        "addr": facts.victims.get(name, facts.address).packed,
        "port": facts.port,
        "vsn": OWN_VERSIONS,
        **changes,
    }
    return encode(
        Alive(incarnation, name, values["addr"], values["port"], encode_tags(tags or {}), values["vsn"])
    )


@attack("zones")
def zones(facts: Facts, rng: random.Random) -> Datagrams:
    """H01, H22, H25: endpoints that are commands for wireguard-go, or no endpoints at all."""
    victim = next(iter(facts.keys.values()))
    command = f"x]:51820\npublic_key={base64.b64decode(victim).hex()}\nremove=true\n"
    endpoints = (
        f"2001:db8::9%{command}",
        "2001:db8::9%eth0",
        "2001:db8::9%99999999999",
        "::ffff:127.0.0.1",
        "255.255.255.255",
        "0.0.0.1",
        "64:ff9b::10.232.1.1",
        "fe80::1",
        "2001:0:c000:201:0:1234:f517:fefe",
        "224.0.0.1",
        "::ffff:10.232.1.1",
    )
    for incarnation in range(1, 1 << 30):
        endpoint = rng.choice(endpoints)
        tags = {
            "_pk": base64.b64encode(rng.randbytes(32)).decode(),
            "_i": str(facts.address),
            "_t": "n",
            "_addr": endpoint,
            "_port": "51820",
        }
        yield [alive(facts, facts.own, incarnation, tags)]
        peer = Peer(
            type=Peer.JOIN,
            pubkey=tags["_pk"],
            endpointIP=endpoint,
            endpointPort=51820,
            meshIP=f"10.232.0.{rng.randrange(1, 255)}%{rng.randrange(9)}",
        )
        yield [said(UserEvent(incarnation, "_j", peer.SerializeToString()))]


def late_certificate() -> bytes:
    """A certificate of version 2, which X.509 has and the library has not: it loads, and raises when it is read."""
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil")])
    key = ec.generate_private_key(ec.SECP256R1())
    der = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    at = der.index(bytes.fromhex("a003020102"))
    return der[: at + 4] + b"\x01" + der[at + 5 :]


@attack("certificates")
def certificates(facts: Facts, rng: random.Random) -> Datagrams:
    """H02: admission records with certificates that load and cannot be read, whole or with any byte changed."""
    der = late_certificate()
    ltime = 1
    while True:
        changed = bytearray(der)
        if rng.random() < 0.7:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        key, now = rng.randbytes(32), int(datetime.now(UTC).timestamp() * 1e6)
        blob = Admission(
            mesh="lab",
            node="x",
            publicKey=key,
            addresses=[ip_address("10.232.0.9").packed],
            notBefore=now,
            notAfter=rng.choice([now + 3_600_000_000, HUGE >> 1, 0]),
        ).SerializeToString()
        record = AdmissionRecord(
            admission=blob,
            signature=b"x",
            signer=hashlib.sha256(changed).digest(),
            certificates=[bytes(changed)],
        )
        peer = Peer(
            type=Peer.JOIN,
            pubkey=base64.b64encode(key).decode(),
            endpointIP="192.0.2.9",
            endpointPort=51820,
            meshIP="10.232.0.9",
            nodeName="x",
            admission=record,
        )
        ltime += 1
        yield [said(UserEvent(ltime, "_j", peer.SerializeToString()))]


@attack("names")
def names(facts: Facts, rng: random.Random) -> Datagrams:
    """H03: names that are no UTF-8, no name, or huge; and all who measure round trips are asked to."""
    odd = (
        "\udcff\udcfe",
        "a\x00b",
        "x" * 600,
        "",
        " ",
        "../../etc",
        "\u202e",
        "n 9\n",
        "é" * 100,
        "\U0001f600" * 30,
    )
    for incarnation in range(1, 1 << 30):
        name = rng.choice(odd)
        yield [
            raw(
                4,
                Incarnation=incarnation,
                Node=name,
                Addr=facts.address.packed,
                Port=facts.port,
                Meta=b"",
                Vsn=bytes(OWN_VERSIONS),
            )
        ]
        yield [raw_serf(rng.choice([0, 1]), LTime=incarnation, Node=name, Prune=bool(incarnation & 1))]
        yield [said(UserEvent(incarnation, "_rtt0", b"\x0a\x02\xff\xfe"))]


@attack("coordinates")
def coordinates(facts: Facts, rng: random.Random) -> Datagrams:
    """H03: coordinates beyond all bounds, in unsolicited ACKs and in solicited ones."""
    while True:
        value = rng.choice([1e10, 1e200, 1.7e308, -1e200, float("nan"), float("inf")])
        payload = b"\x01" + packed(
            {"Vec": [value] * rng.choice([8, 8, 8, 7]), "Error": value, "Adjustment": value, "Height": value}
        )
        yield [raw(2, SeqNo=rng.randrange(1 << 16), Payload=payload)]


@attack("lamport zero")
def lamport_zero(facts: Facts, rng: random.Random) -> Datagrams:
    """H06: a leave at time 0 about a name that then comes alive."""
    number = 0
    while True:
        number += 1
        name = f"zero{number % 500}"
        yield [raw_serf(0, LTime=0, Node=name, Prune=False), alive(facts, name, number)]


@attack("incarnations")
def incarnations(facts: Facts, rng: random.Random) -> Datagrams:
    """H07: an honest member's incarnation is walked to its end, then it is said to have left."""
    step = dict.fromkeys(facts.victims, 1)
    while True:
        name = rng.choice(list(step))
        step[name] = min(step[name] + (1 << 16) - 1, (1 << 32) - 1)
        yield [alive(facts, name, step[name])]
        yield [encode(Suspect(step[name], name, facts.own))]
        yield [encode(Dead(step[name], name, rng.choice([name, facts.own])))]


@attack("prune")
def prune(facts: Facts, rng: random.Random) -> Datagrams:
    """H08: live members are pruned."""
    for ltime in range(2, 1 << 40):
        name = rng.choice(list(facts.victims))
        yield [said(LeaveIntent(ltime, name, rng.random() < 0.8))]
        yield [said(JoinIntent(ltime, name))]


@attack("answers")
def answers(facts: Facts, rng: random.Random) -> Datagrams:
    """H09: answers in the name of all members, and claims on live members' names, so that a vote is held."""
    while True:
        name = rng.choice(list(facts.victims))
        yield [alive(facts, name, rng.randrange(1, 100), addr=facts.address.packed)]
        yield [
            said(
                QueryResponse(
                    rng.randrange(1, 5000),
                    rng.randrange(1 << 32),
                    name,
                    rng.choice([0, 1]),
                    rng.randbytes(rng.randrange(300)),
                )
            )
        ]


@attack("lamport")
def lamport(facts: Facts, rng: random.Random) -> Datagrams:
    """H10: the three Lamport clocks are walked to their end."""
    ltime = 1
    while True:
        ltime = min(ltime + (1 << 40) - 1, HUGE - 1)
        name = rng.choice(list(facts.victims))
        yield [said(JoinIntent(ltime, name)), said(UserEvent(ltime, "late", b""))]
        yield [said(question(facts, ltime, "late", b"", rng))]


def question(
    facts: Facts, ltime: int, name: str, payload: bytes, rng: random.Random, **changes: Any
) -> Query:
    values: dict[str, Any] = {
        "addr": facts.address.packed,
        "port": facts.port,
        "source_node": facts.own,
        **changes,
    }
    return Query(
        ltime=ltime,
        id=rng.randrange(1 << 32),
        addr=values["addr"],
        port=values["port"],
        source_node=values["source_node"],
        filters=(),
        flags=rng.choice([0, 1]),
        relay_factor=rng.choice([0, 0, 5]),
        timeout_ns=rng.choice([10**9, 10**10, -1, 1 << 62]),
        name=name,
        payload=payload,
    )


@attack("questions")
def questions(facts: Facts, rng: random.Random) -> Datagrams:
    """H11, S02, S03, S27: every query there is, in the name of all members, with any payload, answers to be sent
    anywhere.
    """
    kinds = (
        "_claim",
        "_where",
        "_relay",
        "_herald",
        "_admission",
        "_doctor",
        "_serf_ping",
        "_serf_conflict",
        "_serf_list-keys",
        "_serf_install-key",
        "_serf_use-key",
        "_serf_remove-key",
    )
    for ltime in range(2, 1 << 40):
        where = rng.choice([facts.address, facts.outside, *facts.victims.values()])
        yield [
            said(
                question(
                    facts,
                    ltime,
                    rng.choice(kinds),
                    rng.randbytes(rng.randrange(200)),
                    rng,
                    addr=where.packed,
                    source_node=rng.choice([facts.own, *facts.victims]),
                )
            )
        ]


@attack("large intents")
def large_intents(facts: Facts, rng: random.Random) -> Datagrams:
    """H17: what is kept for long, as large as it may be."""
    for ltime in range(2, 1 << 40):
        yield [raw_serf(1, LTime=ltime, Node=f"{ltime}" + "\U0001f600" * 250)]
        payload = rng.randbytes(900)
        yield [said(question(facts, ltime, "unknown", payload, rng))]
        yield [said(UserEvent(ltime, f"event{ltime % 100}", payload))]


@attack("invented members")
def invented(facts: Facts, rng: random.Random) -> Datagrams:
    """H18: thousands of members without an admission."""
    for number in range(1, 1 << 30):
        tags = {
            "_pk": base64.b64encode(rng.randbytes(32)).decode(),
            "_i": f"10.232.{number >> 8 & 255}.{number & 255}",
            "_t": "n",
            "filling": "x" * 300,
        }
        address = ip_address(f"10.232.{number >> 8 & 255}.{number & 255}")
        yield [alive(facts, f"invented{number}", 1, tags, addr=address.packed)]


@attack("versions")
def versions(facts: Facts, rng: random.Random) -> Datagrams:
    """H19: versions that a datagram may have and a merge may not."""
    for number in range(1, 1 << 30):
        yield [alive(facts, f"version{number % 50}", number, vsn=bytes(rng.randrange(7) for _ in range(6)))]


@attack("reflection")
def reflection(facts: Facts, rng: random.Random) -> Datagrams:
    """S03: pings, indirect pings and relays that would have honest members send to others."""
    while True:
        where = rng.choice([facts.outside, *facts.victims.values()])
        yield [encode(Ping(rng.randrange(1 << 16), rng.choice(list(facts.victims)), where.packed, 53, "n1"))]
        yield [
            encode(IndirectPing(rng.randrange(1 << 16), where.packed, 53, "n1", True, where.packed, 53, "n1"))
        ]
        yield [said(Relay(where.packed, 53, "", "n1", encode_serf(UserEvent(2, "x", b"y" * 500))))]


@attack("accusations")
def accusations(facts: Facts, rng: random.Random) -> Datagrams:
    """Live members are reported suspect and dead, in the name of all members."""
    while True:
        name, by = rng.choice(list(facts.victims)), rng.choice([facts.own, *facts.victims])
        incarnation = facts.incarnation(name) + rng.randrange(3)
        yield [encode(Suspect(incarnation, name, by))]
        yield [encode(Dead(incarnation, name, by))]


@attack("dismissals")
def dismissals(facts: Facts, rng: random.Random) -> Datagrams:
    """H07, H08: live members are reported dead, and left or to be forgotten, in one datagram."""
    while True:
        name, by = rng.choice(list(facts.victims)), rng.choice([facts.own, *facts.victims])
        parts = [
            encode(Dead(facts.incarnation(name) + rng.randrange(3), name, by)),
            said(LeaveIntent(facts.time() + rng.randrange(1, 50), name, rng.random() < 0.5)),
        ]
        rng.shuffle(parts)
        yield parts


@attack("far refutations")
def far_refutations(facts: Facts, rng: random.Random) -> Datagrams:
    """H07: live members are made to refute where only their own claim counts."""
    while True:
        yield [
            encode(Suspect(rng.choice([1 << 31, (1 << 32) - 1]), rng.choice(list(facts.victims)), facts.own))
        ]


@attack("garbage")
def garbage(facts: Facts, rng: random.Random) -> Datagrams:
    """Anything: random bytes of each message type, deep compounds, maps of what does not belong there."""
    values: tuple[Any, ...] = (None, -1, HUGE, 1e308, "x" * 500, b"\xff" * 500, [], {}, [[[[]]]], True)
    keys = ("Node", "LTime", "Incarnation", "Addr", "Port", "ID", "From", "Payload")
    while True:
        kind = rng.randrange(16)
        yield [bytes((kind,)) + rng.randbytes(rng.randrange(400))]
        fields = {key: rng.choice(values) for key in keys}
        yield [raw(kind, **fields)]
        yield [raw_serf(rng.randrange(12), **fields)]
        nested = b"\x08\x01\x02\x00\x00"
        for _ in range(rng.randrange(40)):
            nested = bytes((7, 1)) + len(nested).to_bytes(2, "big") + nested
        yield [nested]
