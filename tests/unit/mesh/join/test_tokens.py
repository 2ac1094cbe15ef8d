"""Join tokens: each way to present a wrong one has its own answer."""

from __future__ import annotations

import base64
import contextlib
import hmac
import itertools
import json
import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.mesh.credentials import caller_of
from wgmesh_agent.mesh.join.tokens import (
    MAX_JWT_SECONDS,
    MAX_TOKENS,
    MAX_TOKENS_A_HOLDER,
    TOKEN_SECONDS,
    TokenError,
    TokenFault,
    TokenStore,
    sign,
)

HOLDER = "a" * 64


@pytest.fixture
def store() -> TokenStore:
    numbers = itertools.count()
    return TokenStore(lambda: f"token-{next(numbers):040}")


def fault(store: TokenStore, authorization: str | None, holder: str = HOLDER, now: float = 1.0) -> TokenFault:
    with pytest.raises(TokenError) as caught:
        store.redeem(authorization, holder, now)
    return caught.value.fault


def test_a_token_admits_its_holder_once(store: TokenStore) -> None:
    signed = sign(store.issue(HOLDER, 0.0), time.time())
    store.redeem(signed, HOLDER, 1.0)
    assert fault(store, signed) is TokenFault.REUSED


def test_the_authorization_is_spelt_as_the_contract_has_it(store: TokenStore) -> None:
    signed = sign("x" * 43, 1000.5)
    assert signed.startswith("Bearer: ")
    header = jwt.get_unverified_header(signed.removeprefix("Bearer: "))
    claims = jwt.decode(signed.removeprefix("Bearer: "), options={"verify_signature": False})
    assert header["alg"] == "HS256"
    assert claims == {"iat": 1000, "nbf": 1000, "exp": 1010, "sub": ""}


def test_no_authorization_is_missing(store: TokenStore) -> None:
    assert fault(store, None) is TokenFault.MISSING
    assert fault(store, "") is TokenFault.MISSING


@pytest.mark.parametrize(
    "text", ["Bearer x", "Bearer: ", "Bearer: a.b.c", "Bearer: " + "x" * 5000, "Basic: x"]
)
def test_what_is_no_signed_token_is_malformed(store: TokenStore, text: str) -> None:
    store.issue(HOLDER, 0.0)
    assert fault(store, text) is TokenFault.MALFORMED


def test_a_signature_by_another_secret_is_forged(store: TokenStore) -> None:
    store.issue(HOLDER, 0.0)
    assert fault(store, sign("y" * 43, time.time())) is TokenFault.FORGED


def test_an_unsigned_jwt_is_not_accepted(store: TokenStore) -> None:
    store.issue(HOLDER, 0.0)
    claims = {"iat": 0, "nbf": 0, "exp": 2**40, "sub": ""}
    unsigned = jwt.encode(claims, "", algorithm="none")
    assert fault(store, "Bearer: " + unsigned) is TokenFault.MALFORMED


def test_an_old_jwt_is_expired_and_the_token_is_not_used_up(store: TokenStore) -> None:
    token = store.issue(HOLDER, 0.0)
    assert fault(store, sign(token, time.time() - 3600)) is TokenFault.EXPIRED
    assert fault(store, sign(token, time.time() + 3600)) is TokenFault.EXPIRED
    store.redeem(sign(token, time.time()), HOLDER, 1.0)


def test_a_jwt_that_never_expires_is_malformed(store: TokenStore) -> None:
    token = store.issue(HOLDER, 0.0)
    forever = jwt.encode({"iat": 0, "nbf": 0, "sub": ""}, token, algorithm="HS256")
    assert fault(store, "Bearer: " + forever) is TokenFault.MALFORMED


def test_another_certificate_cannot_use_the_token(store: TokenStore) -> None:
    signed = sign(store.issue(HOLDER, 0.0), time.time())
    assert fault(store, signed, holder="b" * 64) is TokenFault.FOREIGN
    store.redeem(signed, HOLDER, 1.0)


def test_a_token_that_ran_out_is_unknown(store: TokenStore) -> None:
    signed = sign(store.issue(HOLDER, 0.0), time.time())
    assert fault(store, signed, now=TOKEN_SECONDS + 0.1) is TokenFault.FORGED
    assert len(store) == 0


def original_sign(token: str) -> str:
    """As peers of the original do, without the token's id."""
    now = int(time.time())
    claims = {"iat": now, "nbf": now, "exp": now + 10, "sub": ""}
    return "Bearer: " + jwt.encode(claims, token, algorithm="HS256")


def test_peers_of_the_original_name_no_token(store: TokenStore) -> None:
    tokens = [store.issue(HOLDER, 0.0) for _ in range(MAX_TOKENS_A_HOLDER)]
    store.redeem(original_sign(tokens[-1]), HOLDER, 1.0)
    assert fault(store, original_sign(tokens[-1])) is TokenFault.REUSED
    assert fault(store, original_sign(tokens[0]), holder="b" * 64) is TokenFault.FORGED


def test_a_named_token_costs_one_comparison(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [store.issue(HOLDER, 0.0) for _ in range(MAX_TOKENS_A_HOLDER)]
    compared: list[bytes] = []

    def digest(key: bytes, message: bytes, algorithm: object) -> bytes:
        compared.append(key)
        return hashlib_digest(key, message, algorithm)  # type: ignore[arg-type]

    hashlib_digest = hmac.digest
    monkeypatch.setattr(hmac, "digest", digest)
    store.redeem(sign(tokens[300], time.time()), HOLDER, 1.0)
    assert compared == [tokens[300].encode()]
    compared.clear()
    assert fault(store, sign("y" * 43, time.time())) is TokenFault.FORGED
    assert compared == []


def test_a_jwt_that_is_valid_for_long_is_refused(store: TokenStore) -> None:
    token, now = store.issue(HOLDER, 0.0), int(time.time())
    claims = {"iat": now, "nbf": now, "exp": now + MAX_JWT_SECONDS + 1, "sub": ""}
    long = "Bearer: " + jwt.encode(claims, token, algorithm="HS256")
    assert fault(store, long) is TokenFault.TOO_LONG


def test_whatever_many_holders_do_another_gets_a_token(store: TokenStore) -> None:
    for number in range(64):
        with contextlib.suppress(TokenError):
            for _ in range(MAX_TOKENS_A_HOLDER):
                store.issue(f"{number:064}", 0.0)
    assert len(store) < MAX_TOKENS
    store.issue("c" * 64, 0.0)


def test_whatever_a_machine_with_a_64_of_addresses_does_another_gets_a_token(store: TokenStore) -> None:
    for number in range(1, 301):
        holder = caller_of({}, f"ipv6:[2001:db8::{number:x}:1]:4711").holder
        with contextlib.suppress(TokenError):
            for _ in range(MAX_TOKENS_A_HOLDER):
                store.issue(holder, 0.0)
    assert len(store) == MAX_TOKENS_A_HOLDER
    store.issue(caller_of({}, "ipv6:[2001:db8:0:1::1]:4711").holder, 0.0)


@given(
    st.text(max_size=60), st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.integers(), st.text()))
)
def test_whatever_is_presented_is_a_fault(text: str, header: dict[str, object]) -> None:
    store = TokenStore(lambda: "x" * 43)
    store.issue(HOLDER, 0.0)
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    for authorization in (f"Bearer: {text}", f"Bearer: {head}.{text}.{text}"):
        assert fault(store, authorization) in (TokenFault.MALFORMED, TokenFault.FORGED)


def test_one_holder_cannot_fill_the_store(store: TokenStore) -> None:
    for _ in range(MAX_TOKENS_A_HOLDER):
        store.issue(HOLDER, 0.0)
    with pytest.raises(TokenError) as caught:
        store.issue(HOLDER, 0.0)
    assert caught.value.fault is TokenFault.TOO_MANY
    store.issue("b" * 64, 0.0)
    store.issue(HOLDER, TOKEN_SECONDS + 1)


def test_what_else_a_jwt_claims_does_not_matter(store: TokenStore) -> None:
    token, now = store.issue(HOLDER, 0.0), int(time.time())
    claims = {"iat": now, "nbf": now, "exp": now + 10, "sub": "", "aud": "somebody", "iss": "anybody"}
    store.redeem("Bearer: " + jwt.encode(claims, token, algorithm="HS256"), HOLDER, 1.0)


@pytest.mark.parametrize("later", [0, 1], ids=["as long as it may be", "longer"])
def test_how_long_a_jwt_may_be_valid_counts_to_the_second(store: TokenStore, later: int) -> None:
    token, now = store.issue(HOLDER, 0.0), int(time.time())
    claims = {"iat": now - 5, "nbf": now, "exp": now + MAX_JWT_SECONDS + later, "sub": ""}
    authorization = "Bearer: " + jwt.encode(claims, token, algorithm="HS256")
    if later:
        assert fault(store, authorization) is TokenFault.TOO_LONG
    else:
        store.redeem(authorization, HOLDER, 1.0)


def test_when_few_are_left_each_holder_gets_one_until_none_is(
    store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wgmesh_agent.mesh.join.tokens.MAX_TOKENS", 4)
    for number in range(4):
        store.issue(f"{number:064}", 0.0)
        with pytest.raises(TokenError) as caught:
            store.issue(f"{number:064}", 0.0)
        assert caught.value.fault is TokenFault.TOO_MANY
    with pytest.raises(TokenError) as caught:
        store.issue(HOLDER, 0.0)
    assert caught.value.fault is TokenFault.TOO_MANY
    assert len(store) == 4
