"""Tokens: the JWTs of Supabase Auth, which say who a user is. Each is checked here, its issuer not asked."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import jwt
from jwt.exceptions import InvalidSubjectError
from jwt.types import Options

from services.api.access.signing_keys import ALGORITHMS, SigningKeys, keys_at, keys_in
from services.api.http.errors import ApiError, unauthorized
from shared.settings.api import TokenSettings

LEEWAY_SECONDS: Final = 30
"""By so much the issuer's clock and ours may differ."""
TOKEN_LETTERS_MAX: Final = 8192

# The library checks these times by a clock of its own.
_OPTIONS: Final[Options] = {
    "require": ["exp", "sub", "aud"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


@dataclass(frozen=True)
class Tokens:
    """The tokens that are taken."""

    secret: str | None
    """What those of HS256 are signed with; None: they are refused."""
    keys: SigningKeys | None
    """Where the keys of RS256 and ES256 are; None: those are refused."""
    audience: str
    issuer: str | None

    async def user(self, token: str, now: datetime) -> UUID:
        """Who bears this token. Raises `ApiError`: 401 for one that is not taken, 503 while the keys to check
        it with can't be had."""
        if len(token) > TOKEN_LETTERS_MAX:
            raise _refused(f"is longer than {TOKEN_LETTERS_MAX} letters")
        try:
            key, algorithm = await self._key(jwt.get_unverified_header(token), now)
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self.audience,
                issuer=self.issuer,
                options=_OPTIONS,
            )
        except jwt.PyJWTError as error:
            raise _refused(_reason(error)) from None
        _check_times(claims, now.timestamp())
        try:
            return UUID(claims["sub"])
        except ValueError:
            raise _refused("has no UUID as its sub") from None

    async def close(self) -> None:
        """Ends what is under way."""
        if self.keys is not None:
            await self.keys.close()

    async def _key(self, header: dict[str, Any], now: datetime) -> tuple[Any, str]:
        """The key that a token has to be signed with, and the one algorithm that this key is for: a token
        does not choose how it is checked."""
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm == "HS256" and self.secret is not None:
            return self.secret, "HS256"
        if algorithm not in ALGORITHMS or self.keys is None:
            raise _refused("is signed in a way that is not taken")
        key = await self.keys.find(key_id, now) if isinstance(key_id, str) else None
        if key is None:
            raise _refused("is signed with a key that nobody knows")
        return key.key, key.algorithm_name


def tokens(settings: TokenSettings) -> Tokens | None:
    """The tokens that the settings let in; None: no token at all."""
    secret, url, file = settings.jwt_secret, settings.jwt_jwks_url, settings.jwt_jwks_file
    if secret is None and url is None and file is None:
        return None
    return Tokens(
        secret=None if secret is None else secret.get_secret_value(),
        keys=keys_at(url) if url is not None else keys_in(file) if file is not None else None,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
    )


def _check_times(claims: dict[str, Any], now: float) -> None:
    """Raises the 401 `ApiError` for a token that is over, or not yet good."""
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if claims.get(name) is not None}
    if not all(isinstance(time, int | float) for time in times.values()):
        raise _refused("has a time that is no number")
    if not now - LEEWAY_SECONDS < times.pop("exp"):
        raise _refused("has expired")
    if not all(time <= now + LEEWAY_SECONDS for time in times.values()):
        raise _refused("is not good yet")


def _refused(why: str) -> ApiError:
    return unauthorized(f"This token {why}.")


def _reason(error: jwt.PyJWTError) -> str:
    """What is wrong with a token, without anything that is in it."""
    match error:
        case jwt.MissingRequiredClaimError():
            return f"lacks {error.claim}"
        case jwt.InvalidAudienceError():
            return "is for somebody else, by its aud"
        case jwt.InvalidIssuerError():
            return "is somebody else's, by its iss"
        case InvalidSubjectError():
            return "has no UUID as its sub"
        case jwt.InvalidSignatureError():
            return "has a signature that is not right"
        case _:
            return "is no JWT, or not in the form that one must have"
