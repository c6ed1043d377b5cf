"""Amazon SNS: fetches the certificates of messages, and confirms subscriptions that a source allows.

Only addresses of SNS itself are visited, by HTTPS, without redirects, and within limits of time and size.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

import httpx

from shared.sources import sns
from shared.sources.delivery import Delivery
from shared.sources.outcome import Refused, Response
from shared.sources.source import Source

TOPIC_SETTING: Final = "sns_topic"
CONFIRM_SETTING: Final = "sns_confirm"
SECONDS: Final = 5
CERTIFICATE_BYTES_MAX: Final = 16 * 1024
CERTIFICATES_MAX: Final = 64
"""The most certificates in memory. SNS uses one at a time in each region."""
VISITS_MAX: Final = 4
"""The most requests to SNS at once."""


class NotReached(Exception):
    """SNS did not answer. A retry may help."""


class Notifications:
    """Verifies the messages of SNS. It is a context manager, which closes its connections."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(transport=transport, timeout=SECONDS, follow_redirects=False)
        self._certificates: dict[str, bytes] = {}
        self._visits = asyncio.Semaphore(VISITS_MAX)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def verify(self, delivery: Delivery, source: Source) -> Response | None:
        """Checks a message of the source's topic, and confirms a subscription if the source allows it.
        Returns the answer to a message about the subscription, or None for a notification to be kept. Raises
        Refused and NotReached."""
        message = sns.message_of(delivery.body or b"")
        sns.check_topic(message, [str(source.settings[TOPIC_SETTING])])
        certificate = await self._certificate(sns.certificate_url(message))
        sns.check_signature(message, certificate)
        kind = message["Type"]
        if kind == sns.NOTIFICATION:
            return None
        if kind == sns.CONFIRMATION:
            if str(source.settings.get(CONFIRM_SETTING)).lower() != "true":
                raise Refused(f"the source's setting {CONFIRM_SETTING} does not allow a subscription")
            await self._visit(sns.confirmation_url(message), "the confirmation of the subscription")
        return Response()

    async def _certificate(self, url: str) -> bytes:
        """The certificate at this address, which `certificate_url` has checked."""
        if (known := self._certificates.get(url)) is not None:
            return known
        fetched = await self._visit(url, "the certificate of SNS")
        while len(self._certificates) >= CERTIFICATES_MAX:
            del self._certificates[next(iter(self._certificates))]
        self._certificates[url] = fetched
        return fetched

    async def _visit(self, url: str, what: str) -> bytes:
        """The beginning of the answer to a GET. Raises Refused for an answer other than 200, and
        NotReached."""
        content = b""
        try:
            async with (
                asyncio.timeout(SECONDS),
                self._visits,
                self._client.stream("GET", url) as answer,
            ):
                if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                    raise NotReached
                if answer.status_code != httpx.codes.OK:
                    raise Refused(f"SNS refuses {what}")
                async for part in answer.aiter_bytes():
                    content += part
                    if len(content) > CERTIFICATE_BYTES_MAX:
                        raise Refused(f"{what} is too large")
        except (httpx.HTTPError, TimeoutError, OSError):
            raise NotReached from None
        return content


def is_of_sns(delivery: Delivery, source: Source) -> bool:
    """Whether a request must be checked here: a signed message, to a source that names its topic."""
    return TOPIC_SETTING in source.settings and sns.is_message(delivery)
