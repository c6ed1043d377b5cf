"""One request: find its source, read it, verify it, publish it, answer it.

Nothing of a request is published before it is verified. Nothing is answered 2xx before the broker has stored
it. No request makes the receiver fail: every exception of a check is a refusal.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from services.receiver import answers, bodies
from services.receiver.bodies import HeldBody, Memory, TooManyBytes
from services.receiver.known_sources import KnownSource, KnownSources, NothingRead
from services.receiver.metrics import NO_SOURCE, Metrics, Outcome
from services.receiver.publisher import NotPublished, Publisher, RecordTooLarge
from services.receiver.refusals import Reason, RefusalLog, reason_of, with_address
from services.receiver.sns import Notifications, NotReached, is_of_sns
from shared.database.loggable import loggable
from shared.sources import outcome
from shared.sources.delivery import Delivery
from shared.sources.delivery_record import record_of
from shared.sources.dialect import Dialect
from shared.sources.envelopes import FIELDS_MAX, FORM
from shared.sources.outcome import Refused
from shared.sources.signatures import check_request, has_basic_credentials

logger = logging.getLogger("callfold.receiver")

THREAD_BYTES: Final = 64 * 1024
"""From this size on, a body is verified in a thread, so that other requests continue."""
_path_of_source = re.compile(
    rb"/hooks/([0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12})"
).fullmatch

Headers = list[tuple[str, bytes]]
Sending = Callable[[], AbstractContextManager[Headers]]
"""Wraps a publication. The block gets the headers that the record must have besides its own."""


def untraced() -> AbstractContextManager[Headers]:
    """Traces no publication."""
    return nullcontext([])


class _Answer(NamedTuple):
    outcome: Outcome
    response: Response


class Hooks:
    """The route of all sources."""

    def __init__(
        self,
        sources: KnownSources,
        publisher: Publisher,
        memory: Memory,
        metrics: Metrics,
        notifications: Notifications,
        clock: Callable[[], datetime],
        sending: Sending = untraced,
    ) -> None:
        self._sources = sources
        self._publisher = publisher
        self._memory = memory
        self._metrics = metrics
        self._notifications = notifications
        self._clock = clock
        self._sending = sending
        self._refusals = RefusalLog()

    async def take(self, request: Request) -> Response:
        """Answers a request below `/hooks/`."""
        began = time.perf_counter()
        held = HeldBody(self._memory)
        name = NO_SOURCE
        try:
            try:
                known = await self._find(request)
            except NothingRead:
                sentence = "The receiver has not read its sources yet; retry in a moment."
                answer = _Answer("unavailable", answers.unavailable(sentence, 5))
            else:
                if isinstance(known, _Answer):
                    answer = known
                else:
                    name = known.source.name
                    answer = await self._receive(request, known, held)
        except ClientDisconnect:
            return Response()  # the client does not read it
        finally:
            held.release()
        if not held.is_read and bodies.announces_body(request):
            answer.response.headers["Connection"] = "close"
        self._metrics.answered(name, answer.outcome, time.perf_counter() - began)
        return answer.response

    async def _find(self, request: Request) -> KnownSource | _Answer:
        """The source that the path names, or the answer if there is none. Raises NothingRead."""
        if request.method not in answers.METHODS:
            return _Answer("malformed", answers.method_not_allowed())
        # Of the path as it came: an escaped character is no part of an id.
        if (path := _path_of_source(request.scope["raw_path"])) is not None:
            known = await self._sources.find(UUID(path[1].decode()))
            if known is not None:
                return known
        return _Answer("unknown", answers.not_found())

    async def _receive(self, request: Request, known: KnownSource, held: HeldBody) -> _Answer:
        """Verifies and publishes a request of this source. Raises ClientDisconnect."""
        if known.fault is not None or known.dialect is None:
            sentence = "The receiver cannot verify this source's requests now; its log has the reason."
            return _Answer("unavailable", answers.unavailable(sentence, 60))
        try:
            body = await bodies.read(request, held)
        except TooManyBytes:
            return _busy()
        if body and request.method == "GET":
            return _Answer("malformed", answers.get_with_body())
        delivery = Delivery(body, self._clock(), _headers(request), request.method, _url(request))
        try:
            handshake = await self._verified(delivery, known)
        except Refused as refused:
            return self._refuse(str(refused), known)
        except NotReached:
            sentence = "Amazon SNS does not answer, so its message cannot be verified; retry in a moment."
            return _Answer("unavailable", answers.unavailable(sentence, 5))
        if handshake is not None:
            return _Answer("answered", answers.as_the_system_wants(handshake))
        return await self._publish(delivery, known.source.id, known.dialect, held)

    async def _verified(self, delivery: Delivery, known: KnownSource) -> outcome.Response | None:
        """The answer to a handshake, or None for a request to be kept. Raises Refused and NotReached."""
        verify = known.dialect.verify if known.dialect is not None else None
        _check_fields(delivery)
        try:
            if is_of_sns(delivery, known.source):
                if verify is None:
                    check_request(delivery, known.source, None)
                return await self._notifications.verify(delivery, known.source)
            if len(delivery.body or b"") < THREAD_BYTES:
                return check_request(delivery, known.source, verify)
            return await asyncio.to_thread(check_request, delivery, known.source, verify)
        except (Refused, NotReached):
            raise
        except Exception as fault:
            logger.warning(
                "a check failed and the request is refused: %s",
                loggable(fault),
                extra={"source_id": str(known.source.id)},
            )
            raise Refused("it cannot be checked") from None

    def _refuse(self, reason: str, known: KnownSource) -> _Answer:
        """401 where credentials are missing or are a password, 403 where a signature is wrong."""
        kind = reason_of(reason)
        self._metrics.refused(known.source.name, kind)
        self._refusals.add(known.source.id, _with_address(reason, kind, known))
        unsigned = known.dialect is not None and known.dialect.verify is None
        basic = unsigned and has_basic_credentials(known.source)
        if basic or kind == "missing":
            return _Answer("refused", answers.unauthorized(reason, basic=basic))
        return _Answer("refused", answers.forbidden(reason))

    async def _publish(
        self, delivery: Delivery, source_id: UUID, dialect: Dialect, held: HeldBody
    ) -> _Answer:
        record = record_of(delivery, source_id, dialect.kept_headers)
        try:
            with self._sending() as more:
                await self._publisher.publish(
                    record._replace(headers=[*record.headers, *more]) if more else record, held
                )
        except RecordTooLarge:
            sentence = "Kafka accepts no record of this size: the topic's max.message.bytes is too small."
            return _Answer("too_large", answers.too_large(sentence))
        except NotPublished:
            sentence = "Kafka cannot store the request now; retry in a moment."
            return _Answer("unavailable", answers.unavailable(sentence, 5))
        if dialect.answer is not None:
            return _Answer("accepted", answers.as_the_system_wants(dialect.answer(delivery)))
        return _Answer("accepted", answers.accepted(delivery.headers))


def _with_address(reason: str, kind: Reason, known: KnownSource) -> str:
    """The reason for the log. A wrong signature may be right for another address than the source's."""
    url = known.source.url
    if (
        kind != "wrong"
        or url is None
        or known.dialect is None
        or not known.dialect.signs_address(known.source)
    ):
        return reason
    return with_address(reason, url)


def _check_fields(delivery: Delivery) -> None:
    """Refuses a form that takes seconds to check. Ingest would not read it either."""
    if delivery.content_type == FORM and (delivery.body or b"").count(b"&") >= FIELDS_MAX:
        raise Refused(f"its form has more than {FIELDS_MAX:,} fields")


def _busy() -> _Answer:
    sentence = "The receiver is processing too many requests; retry in a moment."
    return _Answer("unavailable", answers.unavailable(sentence, 1))


def _headers(request: Request) -> Mapping[str, str]:
    """The headers by their names in lower case. Several of one name are joined, so that what is verified is
    what is stored. Bytes that are not UTF-8 are kept as surrogates."""
    return _joined(
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
        for name, value in request.scope["headers"]
    )


def _joined(headers: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _url(request: Request) -> str:
    """The path and query as they came."""
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return (path + b"?" + query if query else path).decode("utf-8", "surrogateescape")
