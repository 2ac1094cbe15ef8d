"""Join tokens: each way to present a wrong one has its own answer."""

from __future__ import annotations

import itertools
import time

import jwt
import pytest

from wgmesh_agent.join.tokens import (
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


def test_one_holder_cannot_fill_the_store(store: TokenStore) -> None:
    for _ in range(MAX_TOKENS_A_HOLDER):
        store.issue(HOLDER, 0.0)
    with pytest.raises(TokenError) as caught:
        store.issue(HOLDER, 0.0)
    assert caught.value.fault is TokenFault.TOO_MANY
    store.issue("b" * 64, 0.0)
    store.issue(HOLDER, TOKEN_SECONDS + 1)
