from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import DecryptError, KeyringError
from wgmesh_agent.gossip.wire.encryption import decrypt, encrypt
from wgmesh_agent.gossip.wire.keyring import Keyring, decode_key, encode_key

KEYS = [bytes((number,)) * 32 for number in range(1, 5)]


def test_the_first_key_is_the_primary_and_the_others_keep_their_order() -> None:
    ring = Keyring(KEYS[0], KEYS[1:])
    assert ring.primary == KEYS[0]
    assert ring.keys == tuple(KEYS)
    assert ring.list() == tuple(encode_key(key) for key in KEYS)


@pytest.mark.parametrize("length", [16, 24, 32])
def test_keys_of_aes_lengths_are_taken(length: int) -> None:
    assert Keyring(bytes(length)).primary == bytes(length)


@pytest.mark.parametrize("length", [0, 1, 15, 17, 31, 33, 64])
def test_keys_of_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(KeyringError, match=str(length)):
        Keyring(bytes(length))
    ring = Keyring(KEYS[0])
    with pytest.raises(KeyringError):
        ring.install(bytes(length))
    assert ring.keys == (KEYS[0],)


def test_installing_adds_a_key_and_leaves_the_primary() -> None:
    ring = Keyring(KEYS[0])
    ring.install(KEYS[1])
    ring.install(KEYS[1])
    ring.install(KEYS[0])
    assert ring.keys == (KEYS[0], KEYS[1])


def test_using_a_key_makes_it_the_primary_and_keeps_the_old_one() -> None:
    ring = Keyring(KEYS[0], [KEYS[1], KEYS[2]])
    ring.use(KEYS[2])
    assert ring.keys == (KEYS[2], KEYS[0], KEYS[1])


def test_using_a_key_that_is_not_installed_is_refused() -> None:
    ring = Keyring(KEYS[0])
    with pytest.raises(KeyringError, match="not in the keyring"):
        ring.use(KEYS[1])
    assert ring.keys == (KEYS[0],)


def test_the_primary_cannot_be_removed_and_others_can() -> None:
    ring = Keyring(KEYS[0], [KEYS[1]])
    with pytest.raises(KeyringError, match="primary"):
        ring.remove(KEYS[0])
    ring.remove(KEYS[1])
    ring.remove(KEYS[1])
    assert ring.keys == (KEYS[0],)


def test_no_key_shows_in_a_repr_or_an_error() -> None:
    key = b"sixteen byte key"
    ring = Keyring(key)
    assert "sixteen" not in repr(ring)
    assert encode_key(key) not in repr(ring)
    with pytest.raises(KeyringError) as caught:
        decode_key("c2VjcmV0LXRleHQ=")
    assert "c2Vj" not in str(caught.value)


@given(st.sampled_from([16, 24, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
def test_keys_come_back_from_their_text(key: bytes) -> None:
    assert decode_key(encode_key(key)) == key


@pytest.mark.parametrize("text", ["", "not base64!", "AAAA", "QUJD" * 20, "äöü"])
def test_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(KeyringError, match="base64"):
        decode_key(text)


def test_what_the_ring_is_about_to_be_is_kept_before_it_is_so() -> None:
    kept: list[tuple[tuple[bytes, ...], tuple[bytes, ...]]] = []
    ring = Keyring(KEYS[0], keep=lambda keys: kept.append((keys, ring.keys)))
    ring.install(KEYS[1])
    ring.use(KEYS[1])
    ring.remove(KEYS[0])
    assert kept == [
        ((KEYS[0], KEYS[1]), (KEYS[0],)),
        ((KEYS[1], KEYS[0]), (KEYS[0], KEYS[1])),
        ((KEYS[1],), (KEYS[1], KEYS[0])),
    ]


def test_a_ring_that_cannot_be_kept_stays_as_it_was() -> None:
    def full(keys: tuple[bytes, ...]) -> None:
        raise KeyringError("the disk is full")

    ring = Keyring(KEYS[0], [KEYS[1]], full)
    for change, key in ((ring.install, KEYS[2]), (ring.use, KEYS[1]), (ring.remove, KEYS[1])):
        with pytest.raises(KeyringError, match="full"):
            change(key)
    assert ring.keys == (KEYS[0], KEYS[1])


def test_a_ring_grows_to_sixteen_keys() -> None:
    ring = Keyring(KEYS[0])
    for number in range(15):
        ring.install(bytes([100 + number]) * 16)
    with pytest.raises(KeyringError, match="16"):
        ring.install(KEYS[1])


def test_messages_under_another_key_than_the_primary_are_counted() -> None:
    ring = Keyring(KEYS[0], [KEYS[1]])
    for sender, count in ((KEYS[0], 0), (KEYS[1], 1), (KEYS[2], 2)):
        message = encrypt(Keyring(sender), b"hello", b"", os.urandom)
        with contextlib.suppress(DecryptError):
            decrypt(ring, message, b"")
        assert ring.foreign_key_messages == count
