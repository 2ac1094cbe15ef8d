from __future__ import annotations

import random
import time
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import (
    DecodeError,
    DecryptError,
    GossipError,
    LabelError,
    LimitError,
    PeerError,
)
from wgmesh_agent.gossip.wire.compression import compress_layer
from wgmesh_agent.gossip.wire.encryption import encrypt
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.messages import (
    Ack,
    Message,
    NodeState,
    NodeStateKind,
    Ping,
    PushPull,
    StreamError,
    Suspect,
    UserMessage,
)
from wgmesh_agent.gossip.wire.packing import pack
from wgmesh_agent.gossip.wire.stream import (
    MAX_EXPANDED_BYTES,
    MAX_FRAME_BYTES,
    StreamCodec,
    StreamDecoder,
    stream_message,
)

RING = Keyring(bytes(32))
NODES = tuple(
    NodeState(f"n{number}", bytes((10, 0, 0, number)), 7946, b"\xff\x80", 1, NodeStateKind.ALIVE, bytes(6))
    for number in range(20)
)
MESSAGES: list[Message] = [
    PushPull(True, NODES, b"\x02\x80"),
    PushPull(False, (), b""),
    UserMessage(b"\x03\x80"),
    UserMessage(b""),
    Ping(7, "node", b"\x0a\0\0\1", 7946, "me"),
    Ack(7, b""),
    StreamError("no"),
]
CODECS = [
    StreamCodec(RING if keyed else None, label, compress=compress, encryption_version=version)
    for keyed in (False, True)
    for label in (b"", b"meshA")
    for compress in (False, True)
    for version in (0, 1)
]


def nonces(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def framed(plaintext: bytes) -> bytes:
    header = b"\x0a" + (29 + len(plaintext)).to_bytes(4)
    return header + encrypt(RING, plaintext, header, nonces)


@given(
    st.sampled_from(CODECS),
    st.sampled_from(MESSAGES),
    st.booleans(),
    st.lists(st.integers(0, 2000), max_size=12),
)
def test_a_message_in_any_pieces_comes_back_with_its_last_byte(
    codec: StreamCodec, message: Message, reply: bool, cuts: list[int]
) -> None:
    data = codec.encode(stream_message(message), reply, nonces=nonces)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    decoder = codec.decoder(reply)
    answers = [decoder.feed(data[a:b]) for a, b in pairwise(edges)]
    assert answers == [None] * (len(answers) - 1) + [message]
    assert decoder.finish() == message


@given(st.sampled_from(CODECS), st.binary(max_size=200))
def test_any_stream_is_a_message_or_the_peers_error(codec: StreamCodec, data: bytes) -> None:
    for reply in (False, True):
        for head in (b"", b"\x06", b"\x08", b"\x09\x82", b"\x00", b"\x0a\0\0\0\x40", b"\xf4\x05meshA\x06"):
            with suppress(PeerError):
                decoder = codec.decoder(reply)
                decoder.feed(head + data)
                decoder.finish()


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x06", b"\x08", b"\x09\x82", b"\x0d"]))
def test_any_plaintext_of_a_peer_with_the_key_is_a_message_or_the_peers_error(
    data: bytes, head: bytes
) -> None:
    with suppress(PeerError):
        StreamCodec(RING).decoder(False).feed(framed(head + data or b"\0"))


def test_only_the_initiator_sends_the_label() -> None:
    codec = StreamCodec(RING, b"meshA")
    assert codec.encode(b"\x00\x80", False, nonces=nonces).startswith(b"\xf4\x05meshA\x0a")
    assert codec.encode(b"\x00\x80", True, nonces=nonces).startswith(b"\x0a")


def test_an_initiator_without_the_label_is_refused() -> None:
    data = StreamCodec(RING).encode(stream_message(Ping(1, "a")), False, nonces=nonces)
    with pytest.raises(LabelError):
        StreamCodec(RING, b"meshA").decoder(False).feed(data)
    with pytest.raises(LabelError, match="no label"):
        StreamCodec(None).decoder(False).feed(b"\xf4\x05meshA")


def test_the_label_is_bound_to_the_ciphertext() -> None:
    data = StreamCodec(RING, b"meshA").encode(stream_message(Ping(1, "a")), True, nonces=nonces)
    with pytest.raises(DecryptError):
        StreamCodec(RING, b"meshB").decoder(True).feed(data)


def test_a_changed_frame_length_is_refused() -> None:
    data = framed(stream_message(Ping(1, "a")))
    changed = b"\x0a" + (len(data) - 4).to_bytes(4) + data[5:] + b"\0"
    with pytest.raises(DecryptError):
        StreamCodec(RING).decoder(False).feed(changed)


def test_plaintext_is_refused_with_a_key_and_ciphertext_without() -> None:
    plain = StreamCodec(None).encode(stream_message(MESSAGES[0]), False)
    with pytest.raises(DecryptError, match="not encrypted"):
        StreamCodec(RING).decoder(False).feed(plain)
    with pytest.raises(DecryptError, match="not configured"):
        StreamCodec(None).decoder(False).feed(framed(b"\x00\x80"))


@pytest.mark.parametrize("kind", [1, 3, 4, 5, 7, 10, 11, 12, 14, 200, 244])
def test_what_has_no_place_on_a_stream_is_refused(kind: int) -> None:
    with pytest.raises(PeerError):
        StreamCodec(None).decoder(True).feed(bytes((kind,)) + b"\x80")
    with pytest.raises(DecodeError):
        StreamCodec(RING).decoder(True).feed(framed(bytes((kind,)) + b"\x80"))


def test_compression_inside_compression_is_refused() -> None:
    twice = compress_layer(compress_layer(stream_message(Ping(1, "a"))))
    with pytest.raises(DecodeError, match="no place"):
        StreamCodec(None).decoder(False).feed(twice)


def test_a_stream_that_ends_early_is_the_peers_error() -> None:
    for codec in (StreamCodec(RING), StreamCodec(None)):
        data = codec.encode(stream_message(MESSAGES[0]), False, nonces=nonces)
        for length in (0, 1, 4, 5, 30, len(data) - 1):
            decoder = codec.decoder(False)
            assert decoder.feed(data[:length]) is None
            with pytest.raises(DecodeError, match="ended before"):
                decoder.finish()


def test_a_frame_whose_message_is_cut_short_is_the_peers_error() -> None:
    whole = stream_message(MESSAGES[0])
    with pytest.raises(DecodeError):
        StreamCodec(RING).decoder(False).feed(framed(whole[:-1]))


def test_bytes_after_the_message_are_ignored() -> None:
    codec = StreamCodec(RING, nonces=nonces)
    decoder = codec.decoder(False)
    message = decoder.feed(codec.encode(stream_message(MESSAGES[0]), False) + b"more")
    assert message == MESSAGES[0]
    assert decoder.feed(b"and more") == message


def test_a_frame_that_claims_too_much_is_refused_by_its_header() -> None:
    with pytest.raises(LimitError, match=str(MAX_FRAME_BYTES)):
        StreamCodec(RING).decoder(False).feed(b"\x0a" + (MAX_FRAME_BYTES + 1).to_bytes(4))


def test_a_frame_too_large_to_be_read_is_not_sent() -> None:
    codec = StreamCodec(RING, nonces=nonces)
    assert len(codec.encode(b"\x06" + bytes(MAX_FRAME_BYTES - 30), False)) == MAX_FRAME_BYTES + 5
    with pytest.raises(GossipError, match=str(MAX_FRAME_BYTES)):
        codec.encode(b"\x06" + bytes(MAX_FRAME_BYTES - 29), False)


def test_an_empty_message_or_a_missing_nonce_source_is_our_error() -> None:
    with pytest.raises(GossipError, match="empty"):
        StreamCodec(None).encode(b"", False)
    with pytest.raises(GossipError, match="nonce"):
        StreamCodec(RING).encode(b"\x00\x80", False)


@pytest.mark.parametrize("length", [-1, 2**20])
def test_a_user_message_of_impossible_length_is_refused(length: int) -> None:
    with pytest.raises(LimitError, match="user message"):
        StreamCodec(None).decoder(False).feed(b"\x08" + pack({"UserMsgLen": length}))


@pytest.mark.heavy
def test_a_bomb_is_stopped_at_the_limit() -> None:
    bomb = compress_layer(b"\x06" + bytes(MAX_EXPANDED_BYTES))
    started = time.perf_counter()
    for decoder, data in (
        (StreamCodec(None).decoder(False), bomb),
        (StreamCodec(RING).decoder(False), framed(bomb)),
    ):
        with pytest.raises(LimitError, match=str(MAX_EXPANDED_BYTES)):
            decoder.feed(data)
    assert time.perf_counter() - started < 3


@pytest.mark.heavy
def test_a_push_pull_of_many_small_pieces_is_read_in_linear_time() -> None:
    nodes = tuple(
        NodeState(
            f"node-{number}", bytes(4), 7946, b"\xff\x80" + bytes(100), 1, NodeStateKind.ALIVE, bytes(6)
        )
        for number in range(3000)
    )
    message = PushPull(False, nodes, b"\x02\x80")
    for codec in (StreamCodec(None), StreamCodec(RING, nonces=nonces)):
        data = codec.encode(stream_message(message), True)
        decoder: StreamDecoder = codec.decoder(True)
        started = time.perf_counter()
        for at in range(0, len(data), 64):
            decoder.feed(data[at : at + 64])
        assert decoder.finish() == message
        assert time.perf_counter() - started < 3


def test_a_probe_of_a_peer_without_encryption_reads_its_complaint() -> None:
    complaint = StreamError("Remote state is encrypted and encryption is not configured")
    data = StreamCodec(None, compress=True).encode(stream_message(complaint), True)
    assert StreamCodec(None).decoder(True).feed(data) == complaint


def test_a_message_that_never_travels_on_streams_is_still_our_bytes_but_no_peer_reads_it() -> None:
    data = StreamCodec(None).encode(stream_message(Suspect(1, "a", "b")), False)
    with pytest.raises(DecodeError):
        StreamCodec(None).decoder(False).feed(data)


def test_a_large_compressed_message_is_read_in_steps_and_nothing_is_lost() -> None:
    ring = Keyring(bytes(16))
    message = PushPull(
        True,
        tuple(
            NodeState(
                f"n{number}",
                bytes((10, 0, 0, number)),
                7946,
                random.Random(number).randbytes(300),
                1,
                NodeStateKind.ALIVE,
                bytes(6),
            )
            for number in range(250)
        ),
    )
    data = StreamCodec(ring, compress=True, nonces=random.Random(1).randbytes).encode(
        stream_message(message), False
    )
    decoder = StreamCodec(ring).decoder(False)
    read = decoder.feed(data)
    steps = 1
    while read is None:
        assert decoder.behind
        read, steps = decoder.feed(b""), steps + 1
    assert read == message
    assert steps >= 4


def test_what_expands_to_too_much_is_refused_in_a_later_step_too() -> None:
    ring = Keyring(bytes(16))
    codec = StreamCodec(ring, compress=True, nonces=random.Random(1).randbytes)
    decoder = StreamCodec(ring).decoder(False)
    data = codec.encode(bytes((6,)) + random.Random(1).randbytes(100_000), False)
    assert decoder.feed(data) is None
    assert decoder.behind
    with pytest.raises(PeerError):
        decoder.finish()
