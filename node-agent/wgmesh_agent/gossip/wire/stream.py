"""TCP streams: one message each way, framed when encrypted, read object by object when not (gossip-wire section 4).

Limits: Go reads frames of 20 MiB; this node reads 4 MiB, which holds the push-pull of some 16,000 members
uncompressed, and 8 MiB once decompressed. The worst of these takes about a second to read, in steps.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from wgmesh_agent.gossip.errors import DecodeError, DecryptError, GossipError, LimitError
from wgmesh_agent.gossip.wire.compression import (
    COMPRESS_TYPE,
    compress_layer,
    decompress_object,
    expanding_layer,
)
from wgmesh_agent.gossip.wire.encryption import NonceSource, check_version, decrypt, encrypt, encrypted_length
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.label import label_header, take_label
from wgmesh_agent.gossip.wire.messages import LAYOUTS, Message, MessageType, UserMessage, encode
from wgmesh_agent.gossip.wire.packing import ObjectStream
from wgmesh_agent.gossip.wire.push_pull import PushPullReader
from wgmesh_agent.gossip.wire.schema import I64, Field, Struct

MAX_FRAME_BYTES: Final = 4 * 2**20
"""Maximum of an encrypted frame, or compressed body of a plaintext stream, that this node reads and writes."""
MAX_EXPANDED_BYTES: Final = 8 * 2**20
"""Message after decompression."""
MAX_USER_MESSAGE_BYTES: Final = 64 * 1024
"""User message on a stream."""
MAX_SMALL_MESSAGE_BYTES: Final = 4096
"""Ping, ack or error on a stream."""

_FRAME_HEADER: Final = struct.Struct(">BI")


@dataclass(frozen=True, slots=True)
class _UserHeader:
    length: int


_USER_HEADER: Final = Struct(_UserHeader, Field("length", "UserMsgLen", I64))


def stream_message(message: Message) -> bytes:
    """Returns a message in its form for streams: as in packets, but a user message has a length."""
    if isinstance(message, UserMessage):
        header = _USER_HEADER.pack(_UserHeader(len(message.payload)))
        return bytes((MessageType.USER,)) + header + message.payload
    return encode(message)


class StreamCodec:
    """Writes and reads streams, for one cluster's keyring and label."""

    def __init__(
        self,
        keyring: Keyring | None,
        label: bytes = b"",
        *,
        compress: bool = False,
        encryption_version: int = 1,
        nonces: NonceSource | None = None,
    ) -> None:
        """Without a keyring streams are plaintext. Go always compresses; its readers do not require it."""
        self.keyring = keyring
        self.label = label
        self._label_header = label_header(label)
        self._compress = compress
        self._version = check_version(encryption_version)
        self._nonces = nonces

    def encode(self, message: bytes, reply: bool, *, nonces: NonceSource | None = None) -> bytes:
        """Encodes all bytes of one direction. `message` is from `stream_message`; only an initiator sends the label.

        Raises GossipError for a frame larger than MAX_FRAME_BYTES, and without a nonce source if encrypted.
        """
        if not message:
            raise GossipError("an empty plaintext crashes old peers; nothing may be sent")
        data = compress_layer(message) if self._compress else message
        if self.keyring is not None:
            source = nonces or self._nonces
            if source is None:
                raise GossipError("encryption needs a nonce source")
            length = encrypted_length(len(data), self._version)
            if length > MAX_FRAME_BYTES:
                raise GossipError(f"a frame of {length} bytes; peers read {MAX_FRAME_BYTES}")
            header = _FRAME_HEADER.pack(MessageType.ENCRYPT, length)
            data = header + encrypt(self.keyring, data, header + self.label, source, self._version)
        return data if reply else self._label_header + data

    def decoder(self, reply: bool) -> StreamDecoder:
        """Returns a reader of the other side's bytes: `reply` if this node opened the connection."""
        return StreamDecoder(self, reply)


class StreamDecoder:
    """Reads the one message of one direction of a connection. Unusable after a PeerError."""

    def __init__(self, codec: StreamCodec, reply: bool) -> None:
        self._codec = codec
        self._buffer = bytearray()
        self._label_pending = not reply
        self._body: _Body | None = None
        self._expanding: Generator[None, None, bytes] | None = None
        self._is_whole = False
        self._message: Message | None = None

    @property
    def behind(self) -> bool:
        """Whether received bytes are not read yet, because there were many: feed nothing to continue."""
        return self._expanding is not None or (isinstance(self._body, PushPullReader) and self._body.behind)

    @property
    def announced_nodes(self) -> int:
        """Number of node states to be read."""
        return self._body.announced if isinstance(self._body, PushPullReader) else 0

    def feed(self, data: bytes) -> Message | None:
        """Returns the message once it is complete, else None. Bytes after it are ignored. Raises PeerError."""
        if self._message is None and (data or self.behind):
            self._message = self._read(data)
        return self._message

    def finish(self) -> Message:
        """Returns the message when the peer has closed its side. Raises DecodeError if it is incomplete."""
        while self.behind and self._message is None:
            self.feed(b"")
        if self._message is None:
            raise DecodeError("the stream ended before its message did")
        return self._message

    def _read(self, data: bytes) -> Message | None:
        if self._expanding is not None:
            return self._expand(self._expanding)
        if self._body is None:
            self._buffer += data
            if self._label_pending:
                rest = take_label(bytes(self._buffer), self._codec.label)
                if rest is None:
                    return None
                self._buffer = bytearray(rest)
                self._label_pending = False
            if not self._buffer:
                return None
            if self._codec.keyring is not None:
                return self._read_frame(self._codec.keyring)
            if self._buffer[0] == MessageType.ENCRYPT:
                raise DecryptError("the stream is encrypted and encryption is not configured")
            self._body = _body_for(self._buffer[0], compressed_allowed=True)
            data = bytes(self._buffer[1:])
        return self._read_body(b"" if self._is_whole else data)

    def _read_body(self, data: bytes) -> Message | None:
        assert self._body is not None
        message = self._body.feed(data)
        if message is None and self._is_whole and not self.behind:
            raise DecodeError("a stream's message is truncated")
        return message

    def _read_frame(self, keyring: Keyring) -> Message | None:
        if self._buffer[0] != MessageType.ENCRYPT:
            raise DecryptError("encryption is configured but the stream is not encrypted")
        if len(self._buffer) < _FRAME_HEADER.size:
            return None
        header = bytes(self._buffer[: _FRAME_HEADER.size])
        length = _FRAME_HEADER.unpack(header)[1]
        if length > MAX_FRAME_BYTES:
            raise LimitError(f"a frame of {length} bytes; at most {MAX_FRAME_BYTES} are read")
        if len(self._buffer) < _FRAME_HEADER.size + length:
            return None
        frame = bytes(self._buffer[_FRAME_HEADER.size : _FRAME_HEADER.size + length])
        data = decrypt(keyring, frame, header + self._codec.label)
        self._buffer.clear()
        self._is_whole = True
        if data[:1] == bytes((COMPRESS_TYPE,)):
            self._expanding = expanding_layer(data[1:], MAX_EXPANDED_BYTES)
            return self._expand(self._expanding)
        return self._begin(data)

    def _expand(self, expanding: Generator[None, None, bytes]) -> Message | None:
        try:
            next(expanding)
        except StopIteration as end:
            self._expanding = None
            return self._begin(end.value)
        return None

    def _begin(self, data: bytes) -> Message | None:
        if not data:
            raise DecodeError("a stream without a message")
        self._body = _body_for(data[0], compressed_allowed=False)
        return self._read_body(data[1:])


class _Body(Protocol):
    """Reads the bytes after a type byte, in pieces."""

    def feed(self, data: bytes) -> Message | None: ...


class _ObjectBody:
    """A message that is one msgpack map."""

    def __init__(self, layout: Struct[Any]) -> None:
        self._layout = layout
        self._stream = ObjectStream(MAX_SMALL_MESSAGE_BYTES)

    def feed(self, data: bytes) -> Message | None:
        self._stream.feed(data)
        found, value = self._stream.next_object()
        if not found:
            return None
        message: Message = self._layout.from_wire(value)
        return message


class _UserBody:
    """A length, then that many bytes."""

    def __init__(self) -> None:
        self._stream = ObjectStream(2 * MAX_USER_MESSAGE_BYTES)
        self._length: int | None = None

    def feed(self, data: bytes) -> Message | None:
        self._stream.feed(data)
        if self._length is None:
            found, value = self._stream.next_object()
            if not found:
                return None
            length = _USER_HEADER.from_wire(value).length
            if not 0 <= length <= MAX_USER_MESSAGE_BYTES:
                raise LimitError(
                    f"a user message of {length} bytes; at most {MAX_USER_MESSAGE_BYTES} are read"
                )
            self._length = length
        payload = self._stream.next_bytes(self._length)
        return None if payload is None else UserMessage(payload)


class _CompressedBody:
    """A compress layer of a plaintext stream, and the complete message in it."""

    def __init__(self) -> None:
        self._stream = ObjectStream(MAX_FRAME_BYTES)

    def feed(self, data: bytes) -> Message | None:
        self._stream.feed(data)
        found, value = self._stream.next_object()
        return _whole(decompress_object(value, MAX_EXPANDED_BYTES)) if found else None


def _body_for(kind: int, compressed_allowed: bool) -> _Body:
    if kind == MessageType.PUSH_PULL:
        return PushPullReader()
    if kind == MessageType.USER:
        return _UserBody()
    if kind in (MessageType.PING, MessageType.ACK, MessageType.ERROR):
        return _ObjectBody(LAYOUTS[MessageType(kind)])
    if kind == COMPRESS_TYPE and compressed_allowed:
        return _CompressedBody()
    raise DecodeError(f"message type {kind} has no place on a stream")


def _whole(data: bytes) -> Message:
    if not data:
        raise DecodeError("a stream without a message")
    body = _body_for(data[0], compressed_allowed=False)
    message = body.feed(data[1:])
    while isinstance(body, PushPullReader) and body.behind:
        message = body.feed(b"")
    if message is None:
        raise DecodeError("a stream's message is truncated")
    return message
