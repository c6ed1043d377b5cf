"""Answers that stay exact while the organization's counts do not change: kept, and never stale.

The cache needs no invalidation and no notification of changes. Each request has the state of its
organization's counts (`CountsState`) at the moment when its credentials were found. Each kept answer has the
state in which it was computed. Equal states mean equal counts, so the answer is exact at that moment. With
any other state, the request computes the answer again, or takes one whose computation began after the
request.

An answer over many days is computed in parts, and the parts are kept. A later computation only replaces those
whose days have changed: the days of the deltas that were applied since then, and of those that wait.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import count
from typing import Any, Final, NamedTuple

import msgspec
from fastapi import Request, Response

from services.api.access.credentials import ApiWithAccess, Principal
from services.api.database.counts_state import OF_ORGANIZATION, CountsState, counts_state
from services.api.database.databases import Connection, Database, with_custom_plans
from services.api.http.compression import GZIP_FROM_BYTES, gzipped, takes_gzip
from services.api.http.conditional import conditional, etag_of
from services.api.http.errors import ApiError, being_stopped
from shared.database.statement import Statement

Parts = Mapping[date, Any]
"""The parts of an answer, by the first day of each."""


class Earlier(NamedTuple):
    """The parts of an earlier answer to the same question."""

    parts: Parts
    changed_days: Collection[date]
    """The parts without these days are exact now."""


class Computed(NamedTuple):
    """The JSON of an answer. `parts` are kept for the next computation, if the counts alone determine the
    answer."""

    body: bytes
    parts: Parts | None = None
    depends_on_calls: bool = False
    """Whether the answer depends on more than the counts, so that their state does not identify it."""


Compute = Callable[[Connection, Earlier | None], Awaitable[Computed]]
"""Computes an answer from a snapshot, which has generic plans if there is an earlier answer. It may raise
`ApiError`."""

_DAYS: Final = """
    ARRAY(SELECT day FROM count_days
          WHERE organization_id = :organization_id AND livemode = :livemode
              AND :since::bigint >= 0 AND version > :since) AS applied_days,
    ARRAY(SELECT DISTINCT day FROM daily_call_deltas
          WHERE organization_id = :organization_id AND livemode = :livemode
              AND :since::bigint >= 0) AS waiting_days
"""
_FROM_STATE: Final = f"FROM {OF_ORGANIZATION.format(':organization_id::uuid')} AS state"
_STATE: Final = Statement(f"SELECT state.*, {_DAYS} {_FROM_STATE}")
# Citus calls no function that reads distributed tables beside such a table.
_STATE_ALONE: Final = Statement(f"SELECT state.* {_FROM_STATE}")
_DAYS_ALONE: Final = Statement(f"SELECT {_DAYS}")
_NOTHING_EARLIER: Final = -1

KEPT_OVERHEAD_BYTES: Final = 1024
"""The bytes that a kept answer counts for beside its body, so that the limit also bounds their number."""
PART_BYTES: Final = 4096
"""The bytes that a kept part counts for, unless it is JSON. The largest one has some hundred counts."""


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


class _Result(NamedTuple):
    """The result of a computation."""

    began: int
    """A moment before its snapshot."""
    state: CountsState | None
    """The state of its snapshot; None if it does not identify the answer."""
    answer: Answer | ApiError
    parts: Parts | None = None
    kept_bytes: int = 0
    """The bytes that it counts for, once it is kept."""

    def is_exact_for(self, asked: int, state: CountsState) -> bool:
        """Whether it may answer a request from this moment whose credentials were found in this state."""
        return self.began > asked or (self.state == state and state.is_known)


class _Line:
    """Concurrent requests for the same answer. One computes it; the others wait, and use it if it is exact
    for them."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.members = 0
        self.latest: _Result | None = None


class Answers:
    """The answers that one process keeps: the most recently used ones, up to `bytes_max` bytes."""

    def __init__(self, bytes_max: int) -> None:
        """With `bytes_max` 0, no answer is kept."""
        self._bytes_max = bytes_max
        self.kept_bytes = 0
        self._kept: OrderedDict[bytes, _Result] = OrderedDict()
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
    ) -> _Result:
        line = self._lines.setdefault(key, _Line())
        line.members += 1
        try:
            async with line.turn:
                if line.latest is None or not line.latest.is_exact_for(asked, principal.state):
                    line.latest = await self._compute(database, principal, compute, self._kept.get(key))
                    self._keep(key, line.latest)
                return line.latest
        finally:
            line.members -= 1
            if line.members == 0:
                del self._lines[key]

    async def _compute(
        self, database: Database, principal: Principal, compute: Compute, kept: _Result | None
    ) -> _Result:
        began = next(self._moments)
        has_parts = kept is not None and kept.parts is not None
        try:
            async with database.snapshot(principal.organization_id, generic_plans=has_parts) as connection:
                # The first statement: it takes the snapshot.
                state, earlier = await _state(connection, principal, kept, database.is_distributed)
                if has_parts and earlier is None:
                    await with_custom_plans(connection)
                computed = await compute(connection, earlier)
        except ApiError as error:
            return _Result(began, None, error)
        is_identified = state.server is not None and not computed.depends_on_calls
        return _Result(began, state if is_identified else None, Answer(computed.body), computed.parts)

    def _keep(self, key: bytes, computed: _Result) -> None:
        if (before := self._kept.pop(key, None)) is not None:
            self.kept_bytes -= before.kept_bytes
        if computed.state is None:
            return
        kept = computed._replace(kept_bytes=_kept_bytes(key, computed))
        self._kept[key] = kept
        self.kept_bytes += kept.kept_bytes
        while self.kept_bytes > self._bytes_max:
            _, oldest = self._kept.popitem(last=False)
            self.kept_bytes -= oldest.kept_bytes


@dataclass(frozen=True, kw_only=True)
class ApiWithAnswers(ApiWithAccess):
    """The parts of the running API that the routes of figures use."""

    answers: Answers


async def _state(
    connection: Connection, principal: Principal, kept: _Result | None, is_distributed: bool
) -> tuple[CountsState, Earlier | None]:
    """The state of the snapshot, and the parts of a kept answer that are of use in it."""
    before, parts = (kept.state, kept.parts) if kept else (None, None)
    organization_id, livemode = principal.organization_id, principal.livemode
    since = before.version if before and parts else _NOTHING_EARLIER
    if is_distributed:
        (row,) = await _STATE_ALONE.fetch(connection, organization_id=organization_id)
        (days,) = await _DAYS_ALONE.fetch(
            connection, organization_id=organization_id, livemode=livemode, since=since
        )
    else:
        (row,) = await _STATE.fetch(
            connection, organization_id=organization_id, livemode=livemode, since=since
        )
        days = row
    state = counts_state(row)
    if before and parts and before.server == state.server:
        return state, Earlier(parts, {*days["applied_days"], *days["waiting_days"]})
    return state, None


def _kept_bytes(key: bytes, computed: _Result) -> int:
    body = b"" if isinstance(computed.answer, ApiError) else computed.answer.body
    parts = sum(
        len(part) if isinstance(part, bytes) else PART_BYTES for part in (computed.parts or {}).values()
    )
    compressed = (
        len(body) if len(body) >= GZIP_FROM_BYTES else 0
    )  # an upper bound, reached once the compressed body exists
    return KEPT_OVERHEAD_BYTES + len(key) + len(body) + compressed + parts
