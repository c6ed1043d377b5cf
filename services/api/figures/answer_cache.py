"""Answers that stay exact while the database does not change: computed once, kept, and never stale.

The cache needs no invalidation and no notification of changes. Each request has the state of the database in
which its credentials were found (`STATE` in databases.py), and each kept answer has the state in which it was
computed. Equal states see the same rows, so the answer is exact at the statement that found the credentials.
With any other state, the request computes the answer again, or takes one whose computation began after the
request.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, NamedTuple

import msgspec
from fastapi import Request, Response

from services.api.access.credentials import ApiWithAccess, Principal
from services.api.database.databases import STATE, Connection, Database
from services.api.http.compression import GZIP_FROM_BYTES, gzipped, takes_gzip
from services.api.http.conditional import conditional, etag_of
from services.api.http.encoding import encode
from services.api.http.errors import ApiError, being_stopped
from shared.database.statement import Statement

Compute = Callable[[Connection], Awaitable[object]]
"""Computes the content of an answer from a snapshot. It may raise `ApiError`."""

_STATE: Final = Statement(f"SELECT {STATE}")

KEPT_OVERHEAD_BYTES: Final = 1024
"""The bytes that a kept answer counts for beside its body, so that the limit also bounds their number."""


async def answered(request: Request, principal: Principal, question: object, compute: Compute) -> Response:
    """The answer to a question, computed only if no kept answer is exact now.

    `question` has everything else that the answer depends on, beside the rows and the principal's
    organization, mode and time zone: the request, its filters, and today's date if it matters. It may be any
    value that msgspec can encode. Raises the 503 `ApiError`, and what `compute` raises.
    """
    api = ApiWithAnswers.of(request)
    answer = await api.answers.get(api.databases.reading, principal, question, compute)
    if answer.is_worth_compressing and takes_gzip(request):
        return conditional(request, answer.body, answer.etag, answer.compressed)
    return conditional(request, answer.body, answer.etag)


class Answer:
    """An answer's JSON, and its entity tag."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.etag = etag_of(body)
        self.times_given = 0
        self._compressed: bytes | None = None

    @property
    def is_worth_compressing(self) -> bool:
        """Whether it is large and was requested before. The first request does not wait for compression."""
        return self.times_given > 1 and len(self.body) >= GZIP_FROM_BYTES

    def compressed(self) -> bytes:
        """The body in gzip."""
        if self._compressed is None:
            self._compressed = gzipped(self.body)
        return self._compressed


class _Computed(NamedTuple):
    """The result of a computation."""

    began: int
    """A moment before its snapshot."""
    state: str | None
    """The state of its snapshot; None if it is unknown."""
    answer: Answer | ApiError

    def is_exact_for(self, asked: int, state: str | None) -> bool:
        """Whether it may answer a request from this moment whose credentials were found in this state."""
        return self.began > asked or (self.state is not None and self.state == state)


class _Line:
    """Concurrent requests for the same answer. One computes it; the others wait, and use it if it is exact
    for them."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.members = 0
        self.latest: _Computed | None = None


class Answers:
    """The answers that one process keeps: the most recently used ones, up to `bytes_max` bytes."""

    def __init__(self, bytes_max: int) -> None:
        """With `bytes_max` 0, no answer is kept."""
        self._bytes_max = bytes_max
        self.kept_bytes = 0
        self._kept: OrderedDict[bytes, _Computed] = OrderedDict()
        self._lines: dict[bytes, _Line] = {}
        self._moments = count()

    async def get(
        self, database: Database, principal: Principal, question: object, compute: Compute
    ) -> Answer:
        """The answer, exact at a moment between the lookup of the principal's credentials and the return.
        Raises what `answered` raises."""
        asked = next(self._moments)
        key = msgspec.json.encode(
            (principal.organization_id, principal.livemode, principal.zone.key, question)
        )
        computed = self._kept.get(key)
        if computed is None or not computed.is_exact_for(asked, principal.state):
            try:
                computed = await self._in_line(key, asked, database, principal, compute)
            except asyncio.CancelledError as error:
                raise being_stopped() from error
        else:
            self._kept.move_to_end(key)
        if isinstance(computed.answer, ApiError):
            raise computed.answer
        computed.answer.times_given += 1
        return computed.answer

    async def _in_line(
        self, key: bytes, asked: int, database: Database, principal: Principal, compute: Compute
    ) -> _Computed:
        line = self._lines.setdefault(key, _Line())
        line.members += 1
        try:
            async with line.turn:
                if line.latest is None or not line.latest.is_exact_for(asked, principal.state):
                    line.latest = await self._compute(database, principal, compute)
                    self._keep(key, line.latest)
                return line.latest
        finally:
            line.members -= 1
            if line.members == 0:
                del self._lines[key]

    async def _compute(self, database: Database, principal: Principal, compute: Compute) -> _Computed:
        began = next(self._moments)
        try:
            async with database.snapshot(principal.organization_id) as connection:
                state = await _STATE.fetchval(connection)  # the first statement: it takes the snapshot
                content = await compute(connection)
        except ApiError as error:
            return _Computed(began, None, error)
        return _Computed(began, state, Answer(encode(content)))

    def _keep(self, key: bytes, computed: _Computed) -> None:
        if (before := self._kept.pop(key, None)) is not None:
            self.kept_bytes -= _kept_bytes(key, before)
        if computed.state is None:
            return
        self._kept[key] = computed
        self.kept_bytes += _kept_bytes(key, computed)
        while self.kept_bytes > self._bytes_max:
            self.kept_bytes -= _kept_bytes(*self._kept.popitem(last=False))


@dataclass(frozen=True, kw_only=True)
class ApiWithAnswers(ApiWithAccess):
    """The parts of the running API that the routes of figures use."""

    answers: Answers


def _kept_bytes(key: bytes, computed: _Computed) -> int:
    body = b"" if isinstance(computed.answer, ApiError) else computed.answer.body
    compressed = (
        len(body) if len(body) >= GZIP_FROM_BYTES else 0
    )  # an upper bound, reached once the compressed body exists
    return KEPT_OVERHEAD_BYTES + len(key) + len(body) + compressed
