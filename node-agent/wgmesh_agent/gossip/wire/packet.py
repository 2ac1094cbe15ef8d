"""UDP datagrams: messages in compound, compressed, with checksum, encrypted, labelled (gossip-wire 2.1, 2.4)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

from wgmesh_agent.gossip.errors import DecodeError, GossipError, LimitError
from wgmesh_agent.gossip.wire.compression import COMPRESS_TYPE, compress_layer, decompress_layer
from wgmesh_agent.gossip.wire.encryption import (
    NonceSource,
    check_version,
    decrypt,
    encrypt,
    encryption_overhead,
)
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.label import label_header, strip_label

UDP_PACKET_BYTES: Final = 1400
"""Size of a datagram that gossip fills, crc not counted (as in Go)."""
MAX_DATAGRAM_BYTES: Final = 65536
"""Size of the largest datagram that is read."""
MAX_PARTS: Final = 127
"""Parts of a compound that this node sends: old Go peers misread 128 and more."""
COMPOUND_HEADER_BYTES: Final = 2
COMPOUND_PART_BYTES: Final = 2
"""Overhead of each part of a compound."""
MAX_DEPTH: Final = 8
"""Nesting depth of compound and compress layers."""
MAX_EXPANDED_BYTES: Final = 128 * 1024
"""Total of decompressed bytes of one datagram."""
MAX_DECODED_PARTS: Final = 2048
"""Total of messages of one datagram."""

_COMPOUND_TYPE: Final = 7
_CRC_TYPE: Final = 12
_CRC_HEADER: Final = struct.Struct(">BI")


class PacketCodec:
    """Converts message parts to datagrams and back, for one cluster's keyring and label."""

    def __init__(
        self,
        keyring: Keyring | None,
        label: bytes = b"",
        *,
        compress: bool = False,
        encryption_version: int = 1,
        nonces: NonceSource | None = None,
    ) -> None:
        """Without a keyring datagrams are plaintext. `nonces` may be given here or with each `encode`."""
        self._keyring = keyring
        self._label = label
        self._label_header = label_header(label)
        self._compress = compress
        self._version = check_version(encryption_version)
        self._nonces = nonces

    @property
    def overhead(self) -> int:
        """Bytes of a datagram that are not parts: label, encryption, compound header."""
        encryption = encryption_overhead(self._version) if self._keyring is not None else 0
        return len(self._label_header) + encryption + COMPOUND_HEADER_BYTES

    def budget(self, packet_bytes: int = UDP_PACKET_BYTES) -> int:
        """Returns the bytes for parts in a packet of that size; each part needs COMPOUND_PART_BYTES more than
        itself."""
        return packet_bytes - self.overhead

    def encode(
        self, parts: Sequence[bytes], *, crc: bool = False, nonces: NonceSource | None = None
    ) -> bytes:
        """Encodes one datagram of 1..127 messages (type byte and body each). GossipError for messages that harm
        peers."""
        data = _gather(parts)
        if self._compress:
            compressed = compress_layer(data)
            data = min(compressed, data, key=len)
        if crc:
            data = _CRC_HEADER.pack(_CRC_TYPE, zlib.crc32(data)) + data
        if self._keyring is not None:
            source = nonces or self._nonces
            if source is None:
                raise GossipError("encryption needs a nonce source")
            data = encrypt(self._keyring, data, self._label, source, self._version)
        return self._label_header + data

    def decode(self, datagram: bytes) -> list[bytes]:
        """Decodes the messages of a datagram, all layers removed. Raises PeerError.

        A part that is itself a broken compound or compress layer is returned unchanged, for `messages.decode` to
        reject, so that the other parts are read; an exceeded limit rejects the whole datagram.
        """
        if len(datagram) > MAX_DATAGRAM_BYTES:
            raise LimitError(f"a datagram of {len(datagram)} bytes")
        data = strip_label(datagram, self._label)
        if self._keyring is not None:
            data = decrypt(self._keyring, data, self._label)
        return _Unwrapping().parts(_checked(data), MAX_DEPTH)


def _gather(parts: Sequence[bytes]) -> bytes:
    if not 1 <= len(parts) <= MAX_PARTS:
        raise GossipError(f"a packet of {len(parts)} parts; 1..{MAX_PARTS} can be sent")
    for part in parts:
        if not 1 <= len(part) < MAX_DATAGRAM_BYTES:
            raise GossipError(f"a part of {len(part)} bytes; 1..{MAX_DATAGRAM_BYTES - 1} can be sent")
    if len(parts) == 1:
        return bytes(parts[0])
    lengths = struct.pack(f">BB{len(parts)}H", _COMPOUND_TYPE, len(parts), *map(len, parts))
    return b"".join((lengths, *parts))


def _checked(data: bytes) -> bytes:
    if data[:1] != bytes((_CRC_TYPE,)):
        return data
    if len(data) < _CRC_HEADER.size:
        raise DecodeError("a truncated checksum header")
    (_, wanted), rest = _CRC_HEADER.unpack_from(data), data[_CRC_HEADER.size :]
    if zlib.crc32(rest) != wanted:
        raise DecodeError("a packet whose checksum does not match")
    return rest


class _Unwrapping:
    """Removes compound and compress layers of one datagram; its limits apply to the datagram as a whole."""

    def __init__(self) -> None:
        self._expandable = MAX_EXPANDED_BYTES
        self._part_count = 0

    def parts(self, data: bytes, depth: int) -> list[bytes]:
        if not data:
            raise DecodeError("a packet of no bytes")
        kind = data[0]
        if kind not in (_COMPOUND_TYPE, COMPRESS_TYPE):
            return [self._counted(data)]
        if depth == 0:
            raise LimitError(f"layers more than {MAX_DEPTH} deep")
        if kind == COMPRESS_TYPE:
            expanded = decompress_layer(data[1:], self._expandable)
            self._expandable -= len(expanded)
            return self.parts(expanded, depth - 1)
        messages: list[bytes] = []
        for part in _split_compound(data):
            try:
                messages += self.parts(part, depth - 1)
            except DecodeError:
                # Returned unchanged: the reader of messages rejects and reports it, the other parts are read.
                messages.append(self._counted(part))
        return messages

    def _counted(self, message: bytes) -> bytes:
        self._part_count += 1
        if self._part_count > MAX_DECODED_PARTS:
            raise LimitError(f"a datagram of more than {MAX_DECODED_PARTS} messages")
        return message


def _split_compound(data: bytes) -> list[bytes]:
    """Returns the complete parts; one whose length points past the end drops itself and those after it."""
    if len(data) < COMPOUND_HEADER_BYTES or len(data) < COMPOUND_HEADER_BYTES + 2 * data[1]:
        raise DecodeError("a compound with a truncated header")
    position = COMPOUND_HEADER_BYTES + 2 * data[1]
    parts: list[bytes] = []
    for length in struct.unpack_from(f">{data[1]}H", data, COMPOUND_HEADER_BYTES):
        if position + length > len(data):
            break
        if length:
            parts.append(data[position : position + length])
        position += length
    if not parts:
        raise DecodeError("a compound without a complete part")
    return parts
