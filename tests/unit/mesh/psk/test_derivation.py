"""Keys for pairs: the same at both ends and nowhere else, by the secret that both pick, whatever was missed."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.mesh.membership.secret_ids import decode_ids, encode_ids, split_ids
from wgmesh_agent.mesh.psk.derivation import (
    ALTERNATE_EVERY_SECONDS,
    FALL_BACK_AFTER_SECONDS,
    NO_SECRET,
    MeshSecret,
    PSKHandshakeState,
    SecretSet,
    newest_common,
    parse_secrets,
    select_secret,
)
from wgmesh_agent.wireguard.keys import NO_PRESHARED_KEY, PublicKey
from wgmesh_api.preshared import SecretsError, write_secrets

A, B, C = (PublicKey(bytes([number]) * 32) for number in (1, 2, 3))
SECRET = MeshSecret(bytes(range(32)), "blue")
OLD = MeshSecret(bytes([7]) * 32, "blue")
NOW = 1_760_000_000.0
public_keys = st.binary(min_size=32, max_size=32).map(PublicKey)
secrets = st.binary(min_size=32, max_size=32).map(lambda raw: MeshSecret(raw, "blue"))
ids = st.lists(st.sampled_from([bytes([n]) * 4 for n in range(5)]), unique=True, max_size=4).map(tuple)


def by_hand(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF for at most 32 bytes, as RFC 5869 writes it."""
    extracted = hmac.digest(salt, secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)[:length]


def test_a_pairs_key_is_what_the_record_of_the_decision_says() -> None:
    info = b"wgmesh pre-shared key 1\0" + A.raw + B.raw
    assert SECRET.pair_key(A, B).raw == by_hand(SECRET.raw, b"blue", info, 32)
    assert SECRET.id == by_hand(SECRET.raw, b"blue", b"wgmesh secret id 1\0", 4)


def test_key_and_id_stay_what_they_were_at_first() -> None:
    """Members of different versions are in one mesh."""
    assert (
        SECRET.pair_key(B, A).raw.hex() == "440c2cbe32a117285ebd80c2edeb45ad26dc3246bf82f1e05528bc3e56f04b76"
    )
    assert SECRET.id.hex() == "e48a85ee"


@given(secrets, public_keys, public_keys, public_keys)
def test_both_ends_have_one_key_and_no_other_pair_has_it(
    secret: MeshSecret, one: PublicKey, other: PublicKey, third: PublicKey
) -> None:
    key = secret.pair_key(one, other)
    assert key == secret.pair_key(other, one)
    assert key
    if third not in (one, other):
        assert key != secret.pair_key(one, third)
    assert key != MeshSecret(secret.raw, "green").pair_key(one, other)
    assert key.raw[:4] != secret.id


def test_neither_secret_nor_key_is_shown() -> None:
    shown = f"{SECRET!r} {SECRET.pair_key(A, B)!r} {SECRET.pair_key(A, B)} {SecretSet((SECRET,))!r}"
    for raw in (SECRET.raw, SECRET.pair_key(A, B).raw):
        assert raw.hex() not in shown
        assert repr(raw) not in shown
        assert base64.b64encode(raw).decode() not in shown


def test_a_file_has_one_secret_a_line() -> None:
    text = f"# of blue\n\n{write_secrets([SECRET.raw])}  {write_secrets([OLD.raw])}"
    assert parse_secrets(text, "blue") == (SECRET, OLD)
    assert parse_secrets("", "blue") == ()


@pytest.mark.parametrize(
    "text",
    [
        "AAAA",
        "not base64 at all",
        base64.b64encode(bytes(33)).decode(),
        base64.b64encode(bytes(32)).decode()[:-1],
    ],
)
def test_a_line_that_is_no_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SecretsError, match="line 2") as caught:
        parse_secrets(f"#\n{text}", "blue")
    assert text not in str(caught.value)


def test_one_secret_twice_and_five_are_refused() -> None:
    with pytest.raises(SecretsError, match="duplicated"):
        parse_secrets(write_secrets([OLD.raw, OLD.raw]), "blue")
    with pytest.raises(SecretsError, match="more than 4"):
        parse_secrets(write_secrets(bytes([n]) * 32 for n in range(5)), "blue")


@given(ids)
def test_ids_survive_the_way_through_a_tag(told: tuple[bytes, ...]) -> None:
    assert decode_ids(encode_ids(told)) == told
    assert len(encode_ids(told)) <= 22


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_ids_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert len(decode_ids(text)) <= 4


@pytest.mark.parametrize("raw", [b"abc", bytes(20)])
def test_bytes_that_are_no_whole_ids_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="ids"):
        split_ids(raw)


@given(ids, ids)
def test_both_ends_pick_the_same_secret_and_one_they_both_have(
    one: tuple[bytes, ...], other: tuple[bytes, ...]
) -> None:
    picked = newest_common(one, other)
    assert picked == newest_common(other, one)
    assert (picked == NO_SECRET) == (not set(one) & set(other))
    assert picked == NO_SECRET or (picked in one and picked in other)


def test_the_newest_in_common_is_picked() -> None:
    new, old = SECRET.id, OLD.id
    assert newest_common((new, old), (new, old)) == new
    assert newest_common((new, old), (old,)) == old
    assert newest_common((new,), (old,)) == NO_SECRET
    assert newest_common((), (old,)) == NO_SECRET


def test_a_secret_that_was_replaced_is_remembered_and_not_told() -> None:
    held = SecretSet((OLD,)).replace((SECRET,))
    assert held.ids == (SECRET.id,)
    assert held.pair_key(OLD.id, A, B) == OLD.pair_key(A, B)
    assert held.pair_key(NO_SECRET, A, B) == NO_PRESHARED_KEY
    assert held.pair_key(b"none", A, B) is None
    assert held.replace((OLD,)).previous == (SECRET,)


def standing(age: float, worked: bytes | None) -> PSKHandshakeState:
    return PSKHandshakeState(handshake=NOW - age, before=NOW - age, last_used=worked)


def test_a_live_session_gets_what_is_wanted_at_once() -> None:
    assert (
        select_secret(SECRET.id, standing(FALL_BACK_AFTER_SECONDS - 1, OLD.id), NOW, patient=False)
        == SECRET.id
    )


@given(st.floats(0, 10_000), st.floats(-1000, 1000))
def test_two_that_know_different_things_meet_again_in_what_worked(start: float, clocks_differ: float) -> None:
    """One knows the new secret, the other's advertisement of it is blocked behind the very tunnel."""
    one = two = PSKHandshakeState(handshake=NOW, before=NOW, last_used=OLD.id)
    met = 0.0
    for step in range(int(6 * ALTERNATE_EVERY_SECONDS)):
        now = NOW + FALL_BACK_AFTER_SECONDS + 2000 + start + step
        here = select_secret(SECRET.id, one, now, patient=True)
        there = select_secret(OLD.id, two, now + clocks_differ, patient=False)
        met += here == there
    # WireGuard tries every five seconds
    assert met >= 2 * 5


@given(st.floats(0, 10_000), st.floats(-1000, 1000))
def test_two_that_would_both_go_on_without_and_cannot_tell_meet_in_what_worked(
    start: float, differ: float
) -> None:
    one = PSKHandshakeState(handshake=NOW, before=NOW, last_used=SECRET.id)
    pairs = set()
    for step in range(int(4 * ALTERNATE_EVERY_SECONDS)):
        now = NOW + FALL_BACK_AFTER_SECONDS + 2000 + start + step
        pairs.add(
            (
                select_secret(OLD.id, one, now, patient=True),
                select_secret(NO_SECRET, one, now + differ, patient=False),
            )
        )
    assert (SECRET.id, SECRET.id) in pairs


def test_a_link_that_had_a_secret_never_tries_to_do_without() -> None:
    seen = {
        select_secret(SECRET.id, standing(FALL_BACK_AFTER_SECONDS + n, SECRET.id), NOW + n, patient=False)
        for n in range(300)
    }
    assert seen == {SECRET.id}
    seen = {
        select_secret(SECRET.id, standing(FALL_BACK_AFTER_SECONDS + n, OLD.id), NOW + n, patient=False)
        for n in range(300)
    }
    assert seen == {SECRET.id, OLD.id}


def test_what_worked_is_the_key_of_the_last_handshake() -> None:
    began = PSKHandshakeState().observe(NOW, OLD.id)
    assert began.last_used == OLD.id
    replaced = PSKHandshakeState(NOW, 0.0, OLD.id).psk_changed()
    assert replaced.observe(NOW, SECRET.id).last_used == OLD.id
    assert replaced.observe(NOW + 1, SECRET.id).last_used == SECRET.id
    assert replaced.observe(NOW + 1, None).last_used is None
