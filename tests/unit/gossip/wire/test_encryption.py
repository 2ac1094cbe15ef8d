from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.gossip.errors import DecryptError, GossipError, PeerError
from wgmesh_agent.gossip.wire.encryption import (
    decrypt,
    encrypt,
    encrypted_length,
    encryption_overhead,
)
from wgmesh_agent.gossip.wire.keyring import Keyring

OLD, NEW, FOREIGN = (bytes((number,)) * 32 for number in (1, 2, 3))
VERSIONS = st.sampled_from([0, 1])


def nonces(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=20), VERSIONS)
def test_any_plaintext_comes_back_and_has_the_length_foretold(plain: bytes, aad: bytes, version: int) -> None:
    sealed = encrypt(Keyring(OLD), plain, aad, nonces, version)
    assert decrypt(Keyring(OLD), sealed, aad) == plain
    assert len(sealed) == encrypted_length(len(plain), version) <= len(plain) + encryption_overhead(version)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_without_the_key(data: bytes) -> None:
    with pytest.raises(DecryptError):
        decrypt(Keyring(OLD), data, b"")


@given(st.binary(min_size=1, max_size=40), VERSIONS, st.data())
def test_one_flipped_bit_is_refused(plain: bytes, version: int, draw: st.DataObject) -> None:
    sealed = bytearray(encrypt(Keyring(OLD), plain, b"", nonces, version))
    bit = draw.draw(st.integers(8, 8 * len(sealed) - 1))  # the version byte alone is not authenticated
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DecryptError):
        decrypt(Keyring(OLD), bytes(sealed), b"")


@given(st.binary(min_size=1, max_size=40), VERSIONS)
def test_another_version_byte_gives_bytes_or_the_peers_error(plain: bytes, version: int) -> None:
    sealed = encrypt(Keyring(OLD), plain, b"", nonces, version)
    with suppress(PeerError):
        assert decrypt(Keyring(OLD), bytes((1 - version,)) + sealed[1:], b"")


def test_every_key_on_the_ring_opens_and_the_primary_closes() -> None:
    rotated = Keyring(OLD, [NEW])
    rotated.use(NEW)
    assert decrypt(rotated, encrypt(Keyring(OLD), b"x", b"", nonces), b"") == b"x"
    assert decrypt(Keyring(NEW), encrypt(rotated, b"x", b"", nonces), b"") == b"x"


def test_a_foreign_key_or_other_additional_data_is_refused() -> None:
    sealed = encrypt(Keyring(FOREIGN), b"x", b"", nonces)
    with pytest.raises(DecryptError, match="no key"):
        decrypt(Keyring(OLD, [NEW]), sealed, b"")
    with pytest.raises(DecryptError, match="no key"):
        decrypt(Keyring(FOREIGN), sealed, b"label")


def test_unknown_versions_are_refused_to_read_and_to_write() -> None:
    sealed = encrypt(Keyring(OLD), b"x", b"", nonces)
    with pytest.raises(DecryptError, match="version 2"):
        decrypt(Keyring(OLD), b"\x02" + sealed[1:], b"")
    with pytest.raises(GossipError, match="version 2"):
        encrypt(Keyring(OLD), b"x", b"", nonces, 2)


@pytest.mark.parametrize("padded", [b"\x00", b"\x11" * 16, b"\x02", b"\x10" * 16])
def test_impossible_padding_is_refused(padded: bytes) -> None:
    sealed = encrypt(Keyring(OLD), padded, b"", nonces, 1)
    with pytest.raises(DecryptError, match="padding"):
        decrypt(Keyring(OLD), b"\x00" + sealed[1:], b"")


def test_nothing_is_never_encrypted() -> None:
    with pytest.raises(GossipError, match="empty"):
        encrypt(Keyring(OLD), b"", b"", nonces)


def test_a_nonce_of_another_length_is_our_error() -> None:
    with pytest.raises(GossipError, match="nonce"):
        encrypt(Keyring(OLD), b"x", b"", lambda size: bytes(size - 1))
