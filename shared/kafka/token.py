"""OAUTHBEARER: the sources of the token that opens a connection to Kafka."""

import asyncio
import ssl
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlsplit

import msgspec
from aiokafka import conn
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError, SaslAuthenticationFailed
from pydantic import SecretStr

from shared.upstream import expect_parts

if TYPE_CHECKING:
    # Every process imports this file, and few ask an endpoint: they alone import httpx.
    import httpx

ENDPOINT_SECONDS: Final = 10
RETRY_SECONDS: Final = 1
"""aiokafka tries to reconnect ten times a second. Requests to the token endpoint are less frequent."""
SPARE_SECONDS_MAX: Final = 60
SPARE_SHARE: Final = 0.2


class TokenUnavailable(KafkaError):  # type: ignore[misc]
    """There is no token now, but a later attempt may get one. The text is a part of a sentence, without a
    secret."""

    retriable = True

    def __str__(self) -> str:
        return str(self.args[0])


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]
    """A token in a file that another program refreshes."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def token(self) -> str:
        """The file's current token. Raises TokenUnavailable."""
        try:
            token = (await asyncio.to_thread(self._file.read_text, "ascii")).strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise TokenUnavailable(f"the token in {self._file} can't be read: {reason}") from None
        if not token:
            raise TokenUnavailable(f"there is no token in {self._file}")
        return token


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens of the client-credentials grant (RFC 6749, 4.4), each used until shortly before it expires."""

    def __init__(
        self, url: str, client_id: str, secret: SecretStr, *, scope: str | None = None, ca_file: Path | None
    ) -> None:
        import httpx

        self._url = url
        # URL-encoded before Basic encodes them, as the RFC requires (2.3.1).
        self._credentials = httpx.BasicAuth(quote_plus(client_id), quote_plus(secret.get_secret_value()))
        self._form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        self._context = ssl.create_default_context()
        if ca_file is not None:  # a private authority may sign for both, or only for the broker
            self._context.load_verify_locations(ca_file)
        self._one_at_a_time = asyncio.Lock()
        self._token = ""
        self._was_taken = False
        self._good_until = 0.0
        self._fault: str | None = None
        self._no_try_until = 0.0

    async def token(self) -> str:
        """A token that is still valid for a while. Raises TokenUnavailable."""
        async with self._one_at_a_time:
            now = time.monotonic()
            if now < self._good_until:
                return self._token
            if now >= self._no_try_until:
                await self._ask(now)
            if self._fault is not None:
                raise TokenUnavailable(self._fault)
            return self._token

    def taken(self, token: str) -> None:
        """Notes that the broker accepted this token."""
        self._was_taken = self._was_taken or token == self._token

    def replaces(self, token: str) -> bool:
        """Notes that the broker refused this token. Returns whether another one exists or may be requested. A
        token that was accepted before expired earlier than the endpoint announced: keys change, and clocks
        differ."""
        if token != self._token:
            return True
        if self._was_taken:
            self._good_until = 0.0
        return self._was_taken

    async def _ask(self, now: float) -> None:
        import httpx

        try:
            async with httpx.AsyncClient(verify=self._context, timeout=ENDPOINT_SECONDS) as client:
                answer = await client.post(self._url, data=self._form, auth=self._credentials)
            granted = _read(answer)
        except (httpx.HTTPError, _NoGrant) as error:
            endpoint = urlsplit(self._url)._replace(query="", fragment="").geturl()
            self._fault = f"no token from {endpoint}: {str(error) or 'no answer in time'}"
            self._no_try_until = time.monotonic() + RETRY_SECONDS
            return
        self._fault = None
        self._was_taken = self._was_taken and granted.access_token == self._token
        self._token = granted.access_token
        spare = min(SPARE_SECONDS_MAX, granted.expires_in * SPARE_SHARE)
        self._good_until = now + granted.expires_in - spare


class _Grant(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float = 0  # optional; a token without it is used for one connection


class _NoGrant(Exception):
    pass


def _read(answer: "httpx.Response") -> _Grant:
    """The token in an answer. Raises _NoGrant, with the error's name by the RFC (5.2) where there is one."""
    if answer.status_code != HTTPStatus.OK:
        try:
            error = msgspec.json.decode(answer.content, type=dict[str, Any]).get("error", "")
        except (msgspec.DecodeError, ValueError):
            error = ""
        raise _NoGrant(f"it answers {answer.status_code} {str(error)[:100]}".rstrip())
    try:
        grant = msgspec.json.decode(answer.content, type=_Grant, strict=False)
    except (msgspec.DecodeError, ValueError):
        grant = None
    if grant is None or not grant.access_token or not grant.access_token.isascii():
        raise _NoGrant("its answer has no access_token")
    return grant


def read_refusals_of_tokens() -> None:
    """Makes this process's connections recognize the refusal of a token. aiokafka offers no hook for it. It
    treats any answer as success, and the broker then closes the connection without a reason. Raises
    UpstreamChanged."""
    expect_parts("aiokafka", conn, "OAuthAuthenticator")
    expect_parts("aiokafka", conn.OAuthAuthenticator, "step", "_build_oauth_client_request")
    authenticator = conn.OAuthAuthenticator(sasl_oauth_token_provider=None)
    expect_parts("aiokafka", authenticator, "_sasl_oauth_token_provider", "_token_sent")
    conn.OAuthAuthenticator = _Authenticator


def _status(answer: bytes) -> str:
    try:
        return str(msgspec.json.decode(answer, type=dict[str, Any])["status"])
    except (msgspec.DecodeError, KeyError):
        return "without a status"


class _Authenticator(conn.OAuthAuthenticator):  # type: ignore[misc]
    async def step(self, payload: bytes | None) -> Any:
        """As aiokafka's, but an answer with content is a refusal (RFC 7628, 3.2.2)."""
        provider = self._sasl_oauth_token_provider
        asks_for_tokens = isinstance(provider, ClientCredentials)
        if payload:
            refused = f"the token is refused ({_status(payload)})"
            if asks_for_tokens and provider.replaces(self._token):
                raise TokenUnavailable(refused)
            raise SaslAuthenticationFailed(refused)
        if self._token_sent and asks_for_tokens:
            provider.taken(self._token)
        return await super().step(payload)

    def _build_oauth_client_request(self, token: str, token_extensions: str) -> str:
        self._token = token
        return str(super()._build_oauth_client_request(token, token_extensions))
