"""`wgmesh_agent.wireguard.keys`."""

import pickle
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.wireguard.keys import NO_PRESHARED_KEY, InvalidKeyError, PresharedKey, PrivateKey, PublicKey

RAW = bytes(range(32))
raws = st.binary(min_size=32, max_size=32)


@given(raws)
def test_a_public_key_survives_its_text(raw: bytes) -> None:
    key = PublicKey(raw)
    assert PublicKey.from_base64(str(key)) == key
    assert str(key) == b64encode(raw).decode()


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: b64encode(raw).decode()))
def test_any_text_is_a_key_or_an_error(text: str) -> None:
    try:
        assert str(PublicKey.from_base64(text)) == text
    except InvalidKeyError:
        assert len(text) != 44 or not text.isascii() or b64encode(RAW).decode() != text


@pytest.mark.parametrize(
    "text",
    [
        "",
        b64encode(RAW[:31]).decode(),
        b64encode(RAW + b"!").decode(),
        b64encode(RAW).decode()[:-1],
        b64encode(RAW).decode() + "=",
        b64encode(RAW).decode() + "\n",
        " " + b64encode(RAW).decode()[:-1],
        "-" * 43 + "=",
        "é" * 44,
        "AAAA" * 11,
    ],
)
def test_malformed_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidKeyError):
        PublicKey.from_base64(text)


def test_a_second_text_for_the_same_bytes_is_refused() -> None:
    text = str(PublicKey(bytes(32)))
    with pytest.raises(InvalidKeyError, match="canonical"):
        PublicKey.from_base64(text[:-2] + "B=")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_has_32_bytes(length: int) -> None:
    with pytest.raises(InvalidKeyError):
        PublicKey(bytes(length))
    with pytest.raises(InvalidKeyError):
        PrivateKey(bytes(length))
    with pytest.raises(InvalidKeyError):
        PrivateKey.generate(lambda asked: bytes(length))


def test_public_keys_of_the_same_bytes_are_one_key() -> None:
    assert {PublicKey(RAW): 1}[PublicKey(bytes(RAW))] == 1
    assert PublicKey(RAW) != PublicKey(RAW[::-1])
    assert pickle.loads(pickle.dumps(PublicKey(RAW))) == PublicKey(RAW)


def test_the_public_key_is_the_one_wg_computes() -> None:
    # A pair by `wg genkey | wg pubkey`.
    private = PrivateKey.from_base64("QCfFtjoDW8MSQ3vLGA/a/CdnBPsUfAoaRl9Q1M7uUlQ=")
    assert str(private.public()) == "w5DO6MhGfoWRPhnqpYt0CeZ3vN32C+hNB2hOUpCmoWY="


@given(raws)
def test_a_generated_key_is_clamped(raw: bytes) -> None:
    key = PrivateKey.generate(lambda length: raw[:length])
    assert key.raw[0] & 7 == 0
    assert key.raw[31] >> 6 == 1
    assert key.raw[1:31] == raw[1:31]


@given(raws)
def test_a_private_key_does_not_show(raw: bytes) -> None:
    key = PrivateKey.generate(lambda length: raw[:length])
    for shown in (str(key), repr(key), f"{key}", repr([key]), repr({"k": key})):
        assert key.to_base64() not in shown
        assert repr(key.raw) not in shown
        assert key.raw.hex() not in shown
    assert PrivateKey.from_base64(key.to_base64()) == key


def test_an_error_about_a_private_key_does_not_repeat_it() -> None:
    text = "!" + b64encode(RAW).decode()[1:]
    with pytest.raises(InvalidKeyError) as caught:
        PrivateKey.from_base64(text)
    assert text not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_pre_shared_key_is_compared_by_value_and_not_shown() -> None:
    one, same, other = (
        PresharedKey(bytes([5]) * 32),
        PresharedKey(bytes([5]) * 32),
        PresharedKey(bytes([6]) * 32),
    )
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one
    assert not NO_PRESHARED_KEY
    assert f"{one} {one!r}" == "PresharedKey(…) PresharedKey(…)"
    with pytest.raises(InvalidKeyError):
        PresharedKey(bytes(31))
