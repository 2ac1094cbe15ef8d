"""Join tokens: random, single-use, short-lived, bound to whoever asked for them.

Begin() hands one out; Join() must carry a JWT signed with it (HS256). The token itself never comes back over the wire,
so the store finds the token by trying those of the caller.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

TOKEN_BYTES = 32
TOKEN_SECONDS = 30.0
JWT_SECONDS = 10
CLOCK_SKEW_SECONDS = 30
MAX_TOKENS = 4096
MAX_TOKENS_A_HOLDER = 512
SCHEME = "Bearer: "  # the colon is part of the contract


class TokenFault(enum.StrEnum):
    """Why a join was not authenticated; each is told to the joiner in these words."""

    MISSING = "no join token: call Begin and sign with the token it returns"
    MALFORMED = "the authorization is not 'Bearer: ' and a JWT signed with HS256"
    FORGED = "the JWT is not signed with a token of this bootstrap node, or the token ran out: begin again"
    EXPIRED = "the JWT has expired, or the two clocks differ by more than half a minute"
    FOREIGN = "the join token was handed to another certificate"
    REUSED = "the join token was used before: begin again"
    TOO_MANY = "too many join tokens are open: try again in half a minute"


class TokenError(Exception):
    """A join that was not authenticated."""

    def __init__(self, fault: TokenFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(slots=True)
class _Token:
    secret: str
    holder: str
    expires: float
    used: bool = False


class TokenStore:
    """Open and lately used tokens of one bootstrap node; `now` is monotonic seconds."""

    def __init__(self, random_token: Callable[[], str]) -> None:
        self._random_token = random_token
        self._tokens: OrderedDict[str, _Token] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tokens)

    def issue(self, holder: str, now: float) -> str:
        """A new token for `holder` (a certificate's fingerprint, or the caller's address without TLS).

        Raises:
            TokenError: TOO_MANY.
        """
        self._drop_expired(now)
        held = sum(1 for token in self._tokens.values() if token.holder == holder)
        if held >= MAX_TOKENS_A_HOLDER or len(self._tokens) >= MAX_TOKENS:
            raise TokenError(TokenFault.TOO_MANY)
        token = _Token(self._random_token(), holder, now + TOKEN_SECONDS)
        self._tokens[token.secret] = token
        return token.secret

    def redeem(self, authorization: str | None, holder: str, now: float) -> None:
        """Uses up the token that signed this authorization.

        Raises:
            TokenError: with the fault; nothing is used up then.
        """
        if not authorization:
            raise TokenError(TokenFault.MISSING)
        encoded = authorization.removeprefix(SCHEME)
        if encoded == authorization or len(encoded) > 2048:
            raise TokenError(TokenFault.MALFORMED)
        self._drop_expired(now)
        own_first = sorted(self._tokens.values(), key=lambda token: token.holder != holder)
        for token in own_first:
            if not _signed_with(encoded, token.secret):
                continue
            if token.holder != holder:
                raise TokenError(TokenFault.FOREIGN)
            if token.used:
                raise TokenError(TokenFault.REUSED)
            _check_times(encoded, token.secret)
            token.used = True
            return
        raise TokenError(TokenFault.FORGED)

    def _drop_expired(self, now: float) -> None:
        while self._tokens:
            oldest = next(iter(self._tokens.values()))
            if oldest.expires > now:
                break
            self._tokens.popitem(last=False)


def sign(token: str, now_unix: float) -> str:
    """The `authorization` metadata for a join with this token."""
    issued = int(now_unix)
    claims = {"iat": issued, "nbf": issued, "exp": issued + JWT_SECONDS, "sub": ""}
    return SCHEME + jwt.encode(claims, token, algorithm="HS256")


_SIGNATURE_ONLY: dict[str, Any] = {
    "verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_sub": False, "verify_aud": False,
}  # fmt: skip


def _signed_with(encoded: str, secret: str) -> bool:
    try:
        jwt.decode(encoded, secret, algorithms=["HS256"], options=_SIGNATURE_ONLY)  # type: ignore[arg-type]
    except jwt.InvalidSignatureError:
        return False
    except jwt.InvalidTokenError as error:
        raise TokenError(TokenFault.MALFORMED) from error
    return True


def _check_times(encoded: str, secret: str) -> None:
    try:
        jwt.decode(
            encoded,
            secret,
            algorithms=["HS256"],
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": ["iat", "nbf", "exp"], "verify_aud": False},
        )
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
        raise TokenError(TokenFault.EXPIRED) from error
    except jwt.InvalidTokenError as error:
        raise TokenError(TokenFault.MALFORMED) from error
