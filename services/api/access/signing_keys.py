"""The keys that verify tokens: read from where their issuer publishes them, and cached."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import jwt

from services.api.http.error_codes import ErrorCode
from services.api.http.errors import unavailable
from shared.outage import Outage

ALGORITHMS: Final = ("RS256", "ES256")
FETCH_SECONDS: Final = 5
FRESH_FOR: Final = timedelta(minutes=10)
"""A key that its issuer withdraws stays valid for at most this time."""
BETWEEN_TRIES: Final = timedelta(seconds=10)
"""The shortest time between two requests to the issuer, however many tokens name unknown keys."""

_PUBLIC_FIELDS: Final[tuple[str, ...]] = ("kty", "alg", "n", "e", "crv", "x", "y")

log = logging.getLogger("callfold.api")


class SigningKeys:
    """A JWKS (RFC 7517), read when a key is needed, and again when it is stale or lacks a key. While it
    cannot be read, the keys from the last reading stay valid."""

    def __init__(self, name: str, read: Callable[[], Awaitable[bytes]]) -> None:
        """`name` is its name in log lines; `read` raises httpx.HTTPError or OSError."""
        self._read = read
        self._outage = Outage(
            log, f"the signing keys cannot be read from {name}", "the signing keys can be read again"
        )
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fresh_until = self._tried_at = datetime.min.replace(tzinfo=UTC)
        self._reading: asyncio.Task[None] | None = None

    async def find(self, key_id: str, now: datetime) -> jwt.PyJWK | None:
        """The key with this id. Raises the 503 `ApiError` if it is unknown and the JWKS cannot be read."""
        key = self._keys.get(key_id)
        if key is None:
            self._read_again(now)
            if self._reading is not None:
                await asyncio.shield(self._reading)
            key = self._keys.get(key_id)
        elif now >= self._fresh_until:
            self._read_again(now)  # no request waits for it
        if key is None and self._outage.lasts:
            raise unavailable(
                ErrorCode.SIGNING_KEYS_UNAVAILABLE,
                "The keys that verify tokens cannot be read now; retry in a moment.",
            )
        return key

    async def close(self) -> None:
        """Cancels a running request for the keys."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    def _read_again(self, now: datetime) -> None:
        """Starts a reading unless one is running or was tried within `BETWEEN_TRIES`."""
        if self._reading is not None and not self._reading.done():
            return
        self._reading = None
        # A clock that is set back must not prevent a reading.
        if not timedelta(0) <= now - self._tried_at < BETWEEN_TRIES:
            self._tried_at = now
            self._reading = asyncio.create_task(self._take(now))

    async def _take(self, now: datetime) -> None:
        try:
            self._keys = _keys(await self._read())
        except (httpx.HTTPError, OSError, ValueError) as error:
            self._outage.begin(str(error) or "no answer in time")
            return
        self._outage.end()
        self._fresh_until = now + FRESH_FOR


def keys_at(url: str) -> SigningKeys:
    """The keys that an issuer publishes at this URL."""

    async def fetch() -> bytes:
        async with httpx.AsyncClient(timeout=FETCH_SECONDS) as client:
            answer = await client.get(url, headers={"Accept": "application/json"})
        if answer.status_code != httpx.codes.OK:
            raise ValueError(f"it returned HTTP {answer.status_code}")
        return answer.content

    return SigningKeys(urlsplit(url)._replace(query="", fragment="").geturl(), fetch)


def keys_in(file: Path) -> SigningKeys:
    """The keys in this file, which another program may replace."""

    async def read() -> bytes:
        return await asyncio.to_thread(file.read_bytes)

    return SigningKeys(str(file), read)


def _keys(text: bytes) -> dict[str, jwt.PyJWK]:
    """The keys of a JWKS that can verify a token, by id. Other keys, above all secret ones, are ignored.
    Raises ValueError."""
    try:
        listed: list[dict[str, Any]] = json.loads(text)["keys"]
        candidates = [
            (key["kid"], {field: key[field] for field in _PUBLIC_FIELDS if field in key})
            for key in listed
            if key.get("kty") in ("RSA", "EC") and key.get("use", "sig") == "sig" and "kid" in key
        ]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError("it is not a JWKS") from None
    keys = {}
    for key_id, public in candidates:
        with contextlib.suppress(jwt.PyJWTError):
            key = jwt.PyJWK(public)
            if key.algorithm_name in ALGORITHMS:
                keys[str(key_id)] = key
    return keys
