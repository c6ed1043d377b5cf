"""HTTP to endpoints that clients choose, to allowed addresses only.

The check is at the connection, of the address that it will have. A name that was resolved before, and now
leads elsewhere, does not pass. Redirects are not followed, and proxies of the environment are not used.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Final, NamedTuple

import aiohttp

from shared.webhooks.target import Network, is_allowed

ANSWER_BYTES_KEPT: Final = 1024
_CERTIFICATE_WORDS_MAX: Final = 200


class Answer(NamedTuple):
    """An endpoint's answer, or the sentence that says why there is none."""

    status: int | None
    body: str | None
    error: str | None
    retry_after: timedelta | None = None


class AddressRefused(OSError):
    """The host has an address that messages may not be sent to."""


class EndpointClient:
    """Sends messages. It keeps connections to endpoints open between messages."""

    def __init__(
        self, with_tls: aiohttp.ClientSession, without: aiohttp.ClientSession, timeout_seconds: float
    ) -> None:
        self._with_tls = with_tls
        self._without = without
        self._timeout_seconds = timeout_seconds

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Sends a message, and waits for the answer. Network faults are an `Answer` without a status."""
        session = self._with_tls if url.startswith("https:") else self._without
        try:
            async with asyncio.timeout(self._timeout_seconds) as patience:
                async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                    # The status decides. A slow body behind it does not make the delivery fail.
                    read = await _start_of_body(response, patience.when())
                    return Answer(
                        response.status,
                        read,
                        _error(response),
                        _retry_after(response.headers.get("Retry-After")),
                    )
        except TimeoutError:
            return Answer(None, None, f"It has not answered within {self._timeout_seconds:g} s.")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(None, None, _sentence(error))


@asynccontextmanager
async def endpoint_client(
    networks: Sequence[Network], timeout_seconds: float
) -> AsyncIterator[EndpointClient]:
    """A client for the duration of the block. `networks` are those that may be used although they are not
    public."""
    # The system's resolver needs a thread for each name: a few slow name servers would hold up all.
    resolver = aiohttp.AsyncResolver(timeout=timeout_seconds / 2, tries=2)
    try:
        async with (
            _session(networks, resolver, encrypted=True) as with_tls,
            _session(networks, resolver, encrypted=False) as without,
        ):
            yield EndpointClient(with_tls, without, timeout_seconds)
    finally:
        await resolver.close()


def _session(
    networks: Sequence[Network], resolver: aiohttp.AsyncResolver, *, encrypted: bool
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # the caller limits how many messages are sent at the same time
            resolver=resolver,
            socket_factory=_checked_socket(networks, encrypted=encrypted),
            ssl=ssl.create_default_context(),
        ),
        headers={
            "Content-Type": "application/json",
            "User-Agent": f"callfold/{version('callfold')}",
            "Accept-Encoding": "identity",
        },
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )


def _checked_socket(networks: Sequence[Network], *, encrypted: bool) -> Callable[[Any], socket.socket]:
    """Makes sockets for connections to allowed addresses. Raises AddressRefused for others."""

    def checked(address_info: Any) -> socket.socket:
        family, kind, protocol, _, address = address_info
        if not is_allowed(address[0], networks, encrypted=encrypted):
            cause = f"{address[0]} is not public" if encrypted else f"the URL of {address[0]} is without TLS"
            raise AddressRefused(f"{cause}, and is in no network of CALLFOLD_WEBHOOK_NETWORKS")
        return socket.socket(family, kind, protocol)

    return checked


async def _start_of_body(response: aiohttp.ClientResponse, until: float | None) -> str:
    """The first bytes of the answer's body, as far as they come in time."""
    read = b""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout_at(None if until is None else until - 0.05):
            while len(read) < ANSWER_BYTES_KEPT:
                part = await response.content.read(ANSWER_BYTES_KEPT - len(read))
                if not part:
                    break
                read += part
    if not response.content.at_eof():
        response.close()
    return read.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _error(response: aiohttp.ClientResponse) -> str | None:
    """Why this answer is no success; None if it is one."""
    if 200 <= response.status < 300:
        return None
    more = " Redirects are not followed." if 300 <= response.status < 400 else ""
    return f"It has answered {response.status}.{more}"


def _retry_after(said: str | None) -> timedelta | None:
    """The wait that the header Retry-After asks for, if it is a number of seconds."""
    if said is None or not said.isascii() or not said.isdigit():
        return None
    return timedelta(seconds=min(int(said[:10]), 86_400))


def _sentence(error: Exception) -> str:
    """A network fault as a sentence. It quotes nothing that the endpoint sent, but names from its
    certificate."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "Its host name cannot be resolved."
        case aiohttp.ClientConnectorCertificateError():
            words = str(error.certificate_error)[:_CERTIFICATE_WORDS_MAX]
            return f"Its certificate is not accepted: {words}."
        case aiohttp.ClientConnectorSSLError():
            return "The TLS handshake failed."
        case aiohttp.ClientConnectorError():
            cause = error.os_error
            refused = isinstance(cause, AddressRefused)
            words = str(cause) if refused else os.strerror(cause.errno) if cause.errno else str(cause)
            return f"No connection: {words[:1].lower()}{words[1:]}."
        case aiohttp.ServerDisconnectedError() | ConnectionError():
            return "It has closed the connection without an answer."
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return "Its answer is not valid HTTP."
        case aiohttp.InvalidURL():
            return "Its URL is not valid."
    return f"No answer: {type(error).__name__}."
