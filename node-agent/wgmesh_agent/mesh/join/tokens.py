"""Join tokens: random, single-use, short-lived, bound to the caller that requested them.

Begin() issues one; Join() must carry a JWT signed with it (HS256). The token itself is never sent back:
its id is in the JWT's header as `kid` (RFC 7515, 4.1.4). Peers of the original send none; for them the store tries the
caller's own tokens, of which there are few.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

TOKEN_BYTES = 32
TOKEN_SECONDS = 30.0
JWT_SECONDS = 10
CLOCK_SKEW_SECONDS = 30
MAX_TOKENS = 16384
MAX_TOKENS_A_HOLDER = 512
ROOM_SHARE = 16
"""A holder may have as many tokens as a sixteenth of the remaining room, so that no holder can fill the store."""
MAX_JWT_SECONDS = 60
MAX_AUTHORIZATION_CHARACTERS = 2048
SCHEME = "Bearer: "  # the colon is part of the contract


class TokenFault(enum.StrEnum):
    """Why a join was not authenticated; each value is the message for the joiner."""

    MISSING = "no join token: call Begin and sign with the token it returns"
    MALFORMED = "the authorization is not 'Bearer: ' and a JWT signed with HS256"
    FORGED = "the JWT is not signed with a token of this bootstrap node, or the token has expired: call Begin again"
    EXPIRED = "the JWT has expired, or the two clocks differ by more than half a minute"
    TOO_LONG = "the JWT is valid for longer than a minute: sign one that expires in 10 s"
    FOREIGN = "the join token was issued to another certificate"
    REUSED = "the join token was used before: call Begin again"
    TOO_MANY = "too many join tokens are open: try again in half a minute"


class TokenError(Exception):
    """A join that was not authenticated."""

    def __init__(self, fault: TokenFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(slots=True)
class _Token:
    secret: str
    id: str
    holder: str
    expires: float
    used: bool = False


def new_token() -> str:
    """Random, of the operating system."""
    return secrets.token_urlsafe(TOKEN_BYTES)


class TokenStore:
    """Open and recently used tokens of one bootstrap node; `now` is monotonic seconds."""

    def __init__(self, random_token: Callable[[], str]) -> None:
        self._random_token = random_token
        self._tokens: OrderedDict[str, _Token] = OrderedDict()
        self._held: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._tokens)

    def issue(self, holder: str, now: float) -> str:
        """A new token for `holder`: a certificate's fingerprint; without TLS the caller's IPv4 address or IPv6 /64.

        Raises:
            TokenError: TOO_MANY.
        """
        self._drop_expired(now)
        room = MAX_TOKENS - len(self._tokens)
        if room <= 0 or self._held[holder] >= min(MAX_TOKENS_A_HOLDER, max(1, room // ROOM_SHARE)):
            raise TokenError(TokenFault.TOO_MANY)
        secret = self._random_token()
        token = _Token(secret, token_id(secret), holder, now + TOKEN_SECONDS)
        self._tokens[token.id] = token
        self._held[holder] += 1
        return token.secret

    def redeem(self, authorization: str | None, holder: str, now: float) -> None:
        """Uses up the token that signed this authorization.

        Raises:
            TokenError: with the fault; no token is used up then.
        """
        if not authorization:
            raise TokenError(TokenFault.MISSING)
        encoded = authorization.removeprefix(SCHEME)
        if encoded == authorization or len(encoded) > MAX_AUTHORIZATION_CHARACTERS:
            raise TokenError(TokenFault.MALFORMED)
        self._drop_expired(now)
        token = self._signer_of(encoded, holder)
        if token is None:
            raise TokenError(TokenFault.FORGED)
        if token.holder != holder:
            raise TokenError(TokenFault.FOREIGN)
        if token.used:
            raise TokenError(TokenFault.REUSED)
        _check_times(encoded, token.secret)
        token.used = True

    def _signer_of(self, encoded: str, holder: str) -> _Token | None:
        """The token that signed it: the named one, otherwise one of the holder's. At most 512 comparisons,
        about 1 ms.
        """
        named = _named_in(encoded)
        signed, signature = _parts(encoded)
        if named is not None:
            candidates = [token] if (token := self._tokens.get(named)) else []
        else:
            candidates = [token for token in self._tokens.values() if token.holder == holder]
        for token in candidates:
            if hmac.compare_digest(hmac.digest(token.secret.encode(), signed, hashlib.sha256), signature):
                return token
        return None

    def _drop_expired(self, now: float) -> None:
        while self._tokens:
            oldest = next(iter(self._tokens.values()))
            if oldest.expires > now:
                break
            self._tokens.popitem(last=False)
            self._held[oldest.holder] -= 1
            if not self._held[oldest.holder]:
                del self._held[oldest.holder]


def token_id(token: str) -> str:
    """Id of the token in a JWT's header; reveals nothing about it: 128 bits of a hash of 256 random ones."""
    return hashlib.sha256(b"wgmesh token id 1\0" + token.encode()).hexdigest()[:32]


def sign(token: str, now_unix: float) -> str:
    """The `authorization` metadata for a join with this token."""
    issued = int(now_unix)
    claims = {"iat": issued, "nbf": issued, "exp": issued + JWT_SECONDS, "sub": ""}
    return SCHEME + jwt.encode(claims, token, algorithm="HS256", headers={"kid": token_id(token)})


def _named_in(encoded: str) -> str | None:
    """The id in the header; None if there is none. Raises TokenError."""
    try:
        header: Mapping[str, Any] = jwt.get_unverified_header(encoded)
    except Exception as error:
        # For malformed JSON the library also raises exceptions that are not its own: RecursionError, AttributeError.
        raise TokenError(TokenFault.MALFORMED) from error
    if header.get("alg") != "HS256":
        raise TokenError(TokenFault.MALFORMED)
    named = header.get("kid")
    return named if isinstance(named, str) else None


def _parts(encoded: str) -> tuple[bytes, bytes]:
    """The signed part, and the signature. Raises TokenError."""
    signed, _, signature = encoded.rpartition(".")
    try:
        return signed.encode("ascii"), base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise TokenError(TokenFault.MALFORMED) from error


def _check_times(encoded: str, secret: str) -> None:
    try:
        claims = jwt.decode(
            encoded,
            secret,
            algorithms=["HS256"],
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": ["iat", "nbf", "exp"], "verify_aud": False},
        )
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
        raise TokenError(TokenFault.EXPIRED) from error
    except Exception as error:
        # InvalidTokenError, and any exception that malformed claims cause in the library.
        raise TokenError(TokenFault.MALFORMED) from error
    if claims["exp"] - max(claims["iat"], claims["nbf"]) > MAX_JWT_SECONDS:
        raise TokenError(TokenFault.TOO_LONG)
