"""Codec of the userspace WireGuard configuration protocol (wireguard.com/xplatform), without sockets."""

import errno
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

from wgmesh_agent.runtime.borders import border
from wgmesh_agent.wireguard.diff import Change, RemovePeer, SetDevice, SetPeer
from wgmesh_agent.wireguard.errors import UapiError
from wgmesh_agent.wireguard.keys import KEY_BYTES, NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Device, Endpoint, Network, Peer
from wgmesh_api.values import parse_network

GET = b"get=1\n\n"
SUCCEEDED = b"errno=0\n\n"
"""End of the response to a successful operation."""
MAX_REPLY_BYTES = 64 * 1024 * 1024
"""Enough for well over 100,000 peers; a longer response is invalid."""
MAX_LINE_CHARACTERS = 256
PEERS = border("peer for wireguard-go", "a peer of a change, written for the userspace back end")
T = TypeVar("T")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")


def encode_set(changes: Iterable[Change], throwaway: Callable[[], PublicKey]) -> bytes:
    """Encodes one `set` operation for `changes`, in order.

    The protocol of installed versions cannot remove a range from a peer, so a removed range moves to a peer with key
    `throwaway()` (called at most once) that is removed in the same operation. A peer that cannot be encoded is
    omitted: the rest of the change is applied.
    """
    lines = ["set=1"]
    for change in changes:
        match change:
            case SetDevice(private_key, listen_port):
                if private_key is not None:
                    lines.append(f"private_key={private_key.raw.hex()}")
                if listen_port is not None:
                    lines.append(f"listen_port={listen_port}")
            case RemovePeer(key):
                lines += [f"public_key={key.raw.hex()}", "remove=true"]
            case SetPeer():
                with PEERS.fence(change.public_key):
                    lines.extend(list(_peer_lines(change)))
    removed = [
        one
        for change in changes
        if isinstance(change, SetPeer)
        for one in _ordered(change.remove_allowed_ips)
    ]
    if removed:
        key_line = f"public_key={throwaway().raw.hex()}"
        lines += [key_line, *(f"allowed_ip={_network_text(one)}" for one in removed), key_line, "remove=true"]
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _peer_lines(change: SetPeer) -> Iterator[str]:
    yield f"public_key={change.public_key.raw.hex()}"
    if not change.create:
        yield "update_only=true"
    if change.preshared_key is not None:
        yield f"preshared_key={change.preshared_key.raw.hex()}"
    if change.endpoint is not None:
        yield f"endpoint={_endpoint_text(change.endpoint)}"
    if change.keepalive_seconds is not None:
        yield f"persistent_keepalive_interval={change.keepalive_seconds}"
    for one in _ordered(change.add_allowed_ips):
        yield f"allowed_ip={_network_text(one)}"


def _endpoint_text(endpoint: Endpoint) -> str:
    """Formatted from the packed address and the port, never from text that others provided."""
    if isinstance(endpoint.address, IPv4Address):
        return f"{IPv4Address(endpoint.address.packed)}:{endpoint.port:d}"
    scope = endpoint.address.scope_id
    # `Endpoint` accepts the name or index of an interface only.
    zone = "" if scope is None else f"%{scope}"
    return f"[{IPv6Address(endpoint.address.packed)}{zone}]:{endpoint.port:d}"


def _network_text(network: Network) -> str:
    kind = IPv4Network if network.version == 4 else IPv6Network
    return str(kind((network.network_address.packed, network.prefixlen)))


def _ordered(networks: Iterable[Network]) -> list[Network]:
    return sorted(networks, key=lambda one: (one.version, int(one.network_address), one.prefixlen))


def decode_set_reply(reply: bytes) -> None:
    """Returns if the operation succeeded; raises `UapiError` with the error number if not, or if the response is
    invalid."""
    code = 0
    for key, value in _pairs(reply):
        if key != "errno":
            raise UapiError(f"the answer to a set holds {key!r}")
        code = _number(key, value, 0xFFFF, least=-0xFFFF)
    _check_errno("set", code)


@dataclass(slots=True)
class _PeerDraft:
    """Lines of a peer read so far."""

    key: PublicKey
    values: dict[str, int] = field(default_factory=dict)
    endpoint: Endpoint | None = None
    allowed_ips: list[Network] = field(default_factory=list)
    preshared_key: PresharedKey = NO_PRESHARED_KEY

    def peer(self, written: Mapping[PublicKey, float]) -> Peer:
        seconds = self.values.get("last_handshake_time_sec", 0)
        nanoseconds = self.values.get("last_handshake_time_nsec", 0)
        return Peer(
            self.key,
            self.endpoint,
            frozenset(self.allowed_ips),
            self.values.get("persistent_keepalive_interval", 0),
            seconds + nanoseconds / 1e9,
            self.values.get("rx_bytes", 0),
            self.values.get("tx_bytes", 0),
            self.preshared_key,
            written.get(self.key, 0.0),
        )


_DEVICE_NUMBERS = {"listen_port": 0xFFFF, "fwmark": 0xFFFF_FFFF}
_PEER_NUMBERS = {
    "persistent_keepalive_interval": 0xFFFF,
    "rx_bytes": 2**64 - 1,
    "tx_bytes": 2**64 - 1,
    "last_handshake_time_sec": 2**63 - 1,
    "last_handshake_time_nsec": 999_999_999,
    "protocol_version": 0xFFFF_FFFF,
}


def decode_get(reply: bytes, name: str, written: Mapping[PublicKey, float]) -> Device:
    """Decodes the device `name` from the response to `GET`; `written` gives each peer's `endpoint_written`.

    Raises `UapiError` for anything but a complete, well-formed, successful response. Keys that this protocol version
    does not define are ignored, as `wg` does: a newer program may add some.
    """
    numbers: dict[str, int] = {}
    public_key: PublicKey | None = None
    drafts: dict[PublicKey, _PeerDraft] = {}
    draft: _PeerDraft | None = None
    for key, value in _pairs(reply):
        if key == "errno":
            _check_errno("get", _number(key, value, 0xFFFF, least=-0xFFFF))
        elif key == "public_key":
            draft = _PeerDraft(PublicKey(_hex_key(key, value)))
            if draft.key in drafts:
                raise UapiError(f"peer {draft.key} is duplicated in the response")
            drafts[draft.key] = draft
        elif draft is not None:
            _read_peer_line(draft, key, value)
        elif key == "private_key":
            raw = _hex_key(key, value)
            public_key = PrivateKey(raw).public() if any(raw) else None
        elif key in _DEVICE_NUMBERS:
            numbers[key] = _number(key, value, _DEVICE_NUMBERS[key])
    peers = {key: one.peer(written) for key, one in drafts.items()}
    return Device(name, public_key, numbers.get("listen_port", 0), numbers.get("fwmark", 0), peers)


_NO_SETTINGS = (
    b"endpoint=",
    b"last_handshake_time_",
    b"rx_bytes=",
    b"tx_bytes=",
    b"persistent_keepalive_",
    b"errno=",
)


def fingerprint(reply: bytes) -> int:
    """See `Backend.fingerprint`; from the response to `GET`. Peers are in any order. Raises `UapiError`."""
    if not reply.endswith(SUCCEEDED):
        raise UapiError("the get was rejected, or its response is truncated")
    lines = [line for line in reply.splitlines() if line and not line.startswith(_NO_SETTINGS)]
    return hash(frozenset(b"\n".join([*lines, b""]).split(b"public_key=")))


def _read_peer_line(draft: _PeerDraft, key: str, value: str) -> None:
    if key == "allowed_ip":
        draft.allowed_ips.append(_parsed(key, value, parse_network))
    elif key == "endpoint":
        draft.endpoint = _unmapped(_parsed(key, value, Endpoint.parse))
    elif key == "preshared_key":
        draft.preshared_key = PresharedKey(_hex_key(key, value))
    elif key in _PEER_NUMBERS:
        draft.values[key] = _number(key, value, _PEER_NUMBERS[key])


def _unmapped(endpoint: Endpoint) -> Endpoint:
    # One socket for both families reports IPv4 peers as ::ffff:a.b.c.d; a candidate is never written in that form.
    four = endpoint.address.ipv4_mapped if isinstance(endpoint.address, IPv6Address) else None
    return endpoint if four is None else Endpoint(four, endpoint.port)


def _pairs(reply: bytes) -> Iterator[tuple[str, str]]:
    """Returns the lines of a complete response: it ends with `errno=N` and an empty line, nothing after it."""
    if len(reply) > MAX_REPLY_BYTES:
        raise UapiError(f"the response is longer than {MAX_REPLY_BYTES} bytes")
    if not reply.endswith(b"\n\n"):
        raise UapiError("the response ends before its empty line")
    try:
        lines = reply[:-2].decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise UapiError("the response is not ASCII") from error
    if not lines[-1].startswith("errno="):
        raise UapiError("the response does not end with its error number")
    for position, line in enumerate(lines, 1):
        key, equals, value = line.partition("=")
        if not equals or len(line) > MAX_LINE_CHARACTERS or not _KEY.fullmatch(key):
            raise UapiError(f"line {position} of the response is not KEY=VALUE")
        if key == "errno" and position != len(lines):
            raise UapiError("the response continues after its error number")
        yield key, value


def _check_errno(operation: str, code: int) -> None:
    if code:
        # Written with either sign.
        advice = ": choose another WireGuard port" if abs(code) == errno.EADDRINUSE else ""
        raise UapiError(
            f"the {operation} was rejected: {errno.errorcode.get(abs(code), f'error {code}')}{advice}"
        ) from OSError(abs(code), f"errno={code}")


def _hex_key(key: str, value: str) -> bytes:
    # The value may be a secret: it is never part of a message.
    if len(value) != 2 * KEY_BYTES or not re.fullmatch(r"[0-9a-fA-F]*", value):
        raise UapiError(f"{key} is not {2 * KEY_BYTES} hexadecimal digits")
    return bytes.fromhex(value)


def _number(key: str, value: str, most: int, least: int = 0) -> int:
    base = 16 if key == "fwmark" and value.startswith("0x") else 10
    digits = value.removeprefix("0x") if base == 16 else value.removeprefix("-")
    if not re.fullmatch(r"[0-9a-fA-F]{1,20}" if base == 16 else r"[0-9]{1,20}", digits):
        raise UapiError(f"{key} is not a number")
    number = int(value, base)
    if not least <= number <= most:
        raise UapiError(f"{key} is {number}, not within {least} and {most}")
    return number


def _parsed(key: str, value: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise UapiError(f"{key} is malformed") from error
