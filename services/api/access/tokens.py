"""Tokens: the JWTs of Supabase Auth, which identify users. Each is verified here, without a request to its
issuer."""

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
"""How much the issuer's clock and ours may differ."""
TOKEN_LETTERS_MAX: Final = 8192

# The library would check these times by its own clock.
_OPTIONS: Final[Options] = {
    "require": ["exp", "sub", "aud"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


@dataclass(frozen=True)
class Tokens:
    """The tokens that are accepted."""

    secret: str | None
    """The secret of HS256 tokens. None: they are refused."""
    keys: SigningKeys | None
    """The keys of RS256 and ES256 tokens. None: they are refused."""
    audience: str
    issuer: str | None

    async def user(self, token: str, now: datetime) -> UUID:
        """The user of this token. Raises `ApiError`: 401 if it is not accepted, 503 while the keys to verify
        it are unavailable."""
        if len(token) > TOKEN_LETTERS_MAX:
            raise _refused(f"is longer than {TOKEN_LETTERS_MAX} characters")
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
            raise _refused("has a sub that is not a UUID") from None

    async def close(self) -> None:
        """Cancels a running request for the keys."""
        if self.keys is not None:
            await self.keys.close()

    async def _key(self, header: dict[str, Any], now: datetime) -> tuple[Any, str]:
        """The key that must have signed a token, and the one algorithm of this key. A token does not choose
        how it is verified."""
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm == "HS256" and self.secret is not None:
            return self.secret, "HS256"
        if algorithm not in ALGORITHMS or self.keys is None:
            raise _refused("is signed with an algorithm that is not accepted")
        key = await self.keys.find(key_id, now) if isinstance(key_id, str) else None
        if key is None:
            raise _refused("is signed with an unknown key")
        return key.key, key.algorithm_name


def tokens(settings: TokenSettings) -> Tokens:
    """The tokens that the settings accept."""
    secret, url, file = settings.jwt_secret, settings.jwt_jwks_url, settings.jwt_jwks_file
    return Tokens(
        secret=None if secret is None else secret.get_secret_value(),
        keys=keys_at(url) if url is not None else keys_in(file) if file is not None else None,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
    )


def _check_times(claims: dict[str, Any], now: float) -> None:
    """Raises the 401 `ApiError` for a token that has expired or is not valid yet."""
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if claims.get(name) is not None}
    if not all(isinstance(time, int | float) for time in times.values()):
        raise _refused("has an exp, nbf or iat that is not a number")
    if not now - LEEWAY_SECONDS < times.pop("exp"):
        raise _refused("has expired")
    if not all(time <= now + LEEWAY_SECONDS for time in times.values()):
        raise _refused("is not valid yet")


def _refused(why: str) -> ApiError:
    return unauthorized(f"This token {why}.")


def _reason(error: jwt.PyJWTError) -> str:
    """Why a token is refused, without any of its content."""
    match error:
        case jwt.MissingRequiredClaimError():
            return f"lacks the claim {error.claim}"
        case jwt.InvalidAudienceError():
            return "has the wrong audience (aud)"
        case jwt.InvalidIssuerError():
            return "has the wrong issuer (iss)"
        case InvalidSubjectError():
            return "has a sub that is not a UUID"
        case jwt.InvalidSignatureError():
            return "has an invalid signature"
        case _:
            return "is not a well-formed JWT"
