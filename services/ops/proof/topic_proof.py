"""The proof of the topic of calls: beside publishers, the newest record of each key is the call.

The publisher removes a call from the outbox after Kafka has committed its state. So a call that is not in the
outbox of a snapshot has its state in the topic, and only a later change can replace that record. From this
follows the rule by which a difference is judged. A record that differs from the snapshot is wrong if it was
in the topic before the snapshot, is still the newest one after it, and the snapshot's outbox lacks the call.
Otherwise a change may be on its way, and the call is compared again in a later snapshot.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final, NamedTuple
from uuid import UUID

from aiokafka import ConsumerRecord

from services.ops.proof import statements
from services.ops.proof.chunks import STATEMENT_SECONDS, chunks
from services.ops.proof.newest_record import (
    ENTRY_LENGTH,
    IDENTITY_LENGTH,
    CallKey,
    Content,
    NewestRecord,
    call_of,
    content_of,
    entry,
    newest_record,
)
from services.ops.proof.sorted_runs import SortedRuns
from services.ops.proof.topic_difference import TopicDifference, TopicFindings, foreign, topic_difference
from services.ops.proof.topic_reader import Ends, Faults, TopicReader, topic_reader
from services.ops.terminal.failure import Failure
from services.publisher.changed_calls import State, states
from services.publisher.topic_writer import record as published_record
from shared.backoff import Backoff
from shared.calls.shown_call import SHOWN_FIELDS, shown_call
from shared.database.connection import Connection
from shared.database.distributed import is_distributed
from shared.kafka.client import Broker

SUSPECTS_AT_ONCE: Final = 10_000
UNDECIDED_MAX: Final = 100_000
"""Calls that are compared again; with more, the proof ends without an answer."""
LONGEST_PAUSE_SECONDS: Final = 1

TopicProgress = Callable[[str, int, int | None], None]
"""Receives what is being read, how much is done, and the approximate total where it is known."""


@dataclass(frozen=True)
class TopicProof:
    """The result. `undecided` calls were in the outbox, or changed, in each comparison. Of many differences
    only the first are kept."""

    snapshot: datetime
    topic: str
    records: int
    calls: int
    differences: tuple[TopicDifference, ...]
    differences_found: int
    undecided: int
    is_mended_by_publishing: bool
    """Whether publishing all calls again replaces every wrong record."""

    @property
    def equal(self) -> bool:
        return not self.differences_found and not self.undecided


class TopicQuestion(NamedTuple):
    """The topic to prove, the organization or None for all, and how long changes may be on their way."""

    topic: str
    organization_id: UUID | None
    wait_seconds: float


class _Suspect(NamedTuple):
    """A call that differs from the newest records of its key."""

    difference: TopicDifference
    call: CallKey
    records: Sequence[NewestRecord]


async def prove_topic(
    connection: Connection, broker: Broker, faults: Faults, question: TopicQuestion, progress: TopicProgress
) -> TopicProof:
    """Compares the topic with the calls. The connection must not be in a transaction, and its server must be
    the primary. Raises Failure if no answer is possible, asyncpg's errors, and OSError."""
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise Failure(
            "A replica can be older than the topic, so it proves nothing about it. Set CALLFOLD_DATABASE_URL "
            "to the primary."
        )
    if await is_distributed(connection):
        raise Failure(
            "Cannot tell: Citus distributes the calls over several servers, and no snapshot has the calls of "
            "all of them."
        )
    await _published_at(connection)
    async with topic_reader(broker, question.topic, faults) as reader:
        return await _Comparison(connection, reader, question, progress).run()


async def _published_at(connection: Connection) -> datetime:
    """The time of the snapshot. Raises Failure unless the outbox accounts for every call that the topic
    lacks."""
    row: Any = await connection.fetchrow(_PUBLISHER)
    if row is None:
        raise Failure(
            "Cannot tell: no publisher has started, so the topic has no calls to compare. Start "
            "`python -m services.publisher`."
        )
    at, publishes_all = row
    if publishes_all:
        raise Failure(
            "Cannot tell yet: all calls are being published. Run it again when `callfold publish` no longer "
            "reports that."
        )
    return at  # type: ignore[no-any-return]


class _Comparison:
    """One proof."""

    def __init__(
        self, connection: Connection, reader: TopicReader, question: TopicQuestion, progress: TopicProgress
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._question = question
        self._progress = progress
        self._found = TopicFindings()
        self._undecided: dict[CallKey, dict[int, NewestRecord]] = {}
        self._undecided_count = 0
        self._calls = 0

    async def run(self) -> TopicProof:
        """Compares everything once, and then what was changing. Raises as `prove_topic`."""
        at = await self._compare_all()
        if self._undecided_count == len(self._undecided):
            await self._compare_again()
            self._undecided_count = len(self._undecided)
        await self._reader.require_same_partitions()
        found = self._found
        return TopicProof(
            at,
            self._question.topic,
            self._reader.records,
            self._calls,
            tuple(found.differences),
            found.count,
            self._undecided_count,
            found.is_mended_by_publishing,
        )

    async def _compare_all(self) -> datetime:
        """Compares the whole topic with all calls in one snapshot. Returns the time of the snapshot."""
        with SortedRuns(ENTRY_LENGTH, IDENTITY_LENGTH) as runs:
            await self._read_topic(runs)
            before = await self._reader.ends()
            async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                await self._connection.execute(statements.PLAN_FOR_THE_WHOLE)
                at = await _published_at(self._connection)
                await self._reader.read(await self._reader.ends(), self._taking(runs))
                suspects: list[_Suspect] = []
                async for call, records, must in self._merged(runs):
                    difference = topic_difference(call, records, must)
                    if difference is not None:
                        suspects.append(_Suspect(difference, call, records))
                    if len(suspects) == SUSPECTS_AT_ONCE:
                        await self._judge(suspects, before)
                        suspects = []
                await self._judge(suspects, before)
        return at

    async def _read_topic(self, runs: SortedRuns) -> None:
        """Reads the topic, and then what has come meanwhile, so that the snapshot need not last as long."""
        expected = await self._reader.begin()
        take = self._taking(runs)

        def taken(records: Sequence[ConsumerRecord]) -> None:
            take(records)
            self._progress("records", self._reader.records, expected)

        await self._reader.read(await self._reader.ends(), taken)
        await self._reader.read(await self._reader.ends(), taken)

    def _taking(self, runs: SortedRuns) -> Callable[[Sequence[ConsumerRecord]], None]:
        owner = self._question.organization_id
        prefix = b"" if owner is None else f"{owner}:".encode()

        def take(records: Sequence[ConsumerRecord]) -> None:
            for record in records:
                if owner is None or (record.key or b"").startswith(prefix):
                    runs.add(entry(record))

        return take

    async def _merged(
        self, runs: SortedRuns
    ) -> AsyncIterator[tuple[CallKey, Sequence[NewestRecord], Content | None]]:
        """Each call of the topic or of the snapshot, in the order of their keys: the newest records, and the
        content that they must have. Foreign keys, which come last, are differences at once."""
        of_topic = self._calls_of_topic(runs.merged())
        read = next(of_topic, None)
        rows_of_calls = chunks(
            self._connection, _CALLS, self._question.organization_id, length_of=_transcript_length
        )
        async for rows in rows_of_calls:
            for row in rows:
                call = row["organization_id"], row["id"]
                while read is not None and read[0] < call:
                    yield *read, None
                    read = next(of_topic, None)
                records: Sequence[NewestRecord] = ()
                if read is not None and read[0] == call:
                    records = read[1]
                    read = next(of_topic, None)
                yield call, records, _content(State(call, shown_call(row), row["revision"], row["livemode"]))
            self._calls += len(rows)
            self._progress("calls", self._calls, None)
        while read is not None:
            yield *read, None
            read = next(of_topic, None)

    def _calls_of_topic(self, entries: Iterator[bytes]) -> Iterator[tuple[CallKey, Sequence[NewestRecord]]]:
        for call, records in groupby(map(newest_record, entries), key=lambda record: record.call):
            if call is not None:
                yield call, list(records)
                continue
            for record in records:
                if record.content is not None:
                    self._found.add(foreign(record))

    async def _judge(self, suspects: Sequence[_Suspect], before: Ends) -> None:
        """Sorts the suspects of the open snapshot into differences and undecided ones. `before` are the ends
        of the topic before the snapshot."""
        changing = await _in_outbox(self._connection, [suspect.call for suspect in suspects])
        for difference, call, records in suspects:
            if call not in changing and not _is_new(records, before):
                self._found.add(difference)
                continue
            self._undecided_count += 1
            if self._undecided_count <= UNDECIDED_MAX:
                self._undecided[call] = {record.partition: record for record in records}

    async def _compare_again(self) -> None:
        """Compares the undecided calls in later snapshots, until none is left or the time is over."""
        deadline = time.monotonic() + self._question.wait_seconds
        backoff = Backoff(longest_seconds=LONGEST_PAUSE_SECONDS)
        while self._undecided:
            await self._compare_undecided()
            if not self._undecided or time.monotonic() >= deadline:
                return
            await backoff.wait(asyncio.Event())

    async def _compare_undecided(self) -> None:
        """Compares the undecided calls in one snapshot."""
        before = await self._reader.ends()
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            await _published_at(self._connection)
            changing = await _in_outbox(self._connection, list(self._undecided))
            settled = [call for call in self._undecided if call not in changing]
            musts = await self._contents(settled)
        await self._reader.read(await self._reader.ends(), self._take_again)
        for call in settled:
            records = list(self._undecided[call].values())
            difference = topic_difference(call, records, musts[call])
            if difference is not None and _is_new(records, before):
                continue
            if difference is not None:
                self._found.add(difference)
            del self._undecided[call]

    async def _contents(self, calls: Sequence[CallKey]) -> dict[CallKey, Content | None]:
        """The content that the topic must have of these calls."""
        found: dict[CallKey, Content | None] = {}
        while len(found) < len(calls):
            some = await states(self._connection, calls[len(found) :], {})
            found.update((state.key, _content(state)) for state in some)
        return found

    def _take_again(self, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            call = call_of(record.key)
            if call is not None and call in self._undecided:
                self._undecided[call][record.partition] = newest_record(entry(record))


def _is_new(records: Sequence[NewestRecord], before: Ends) -> bool:
    """Whether one of the records came after these ends."""
    return any(record.offset >= before.get(record.partition, 0) for record in records)


def _content(state: State) -> Content | None:
    """The digests of the record that the publisher writes."""
    _, value, headers = published_record(state)
    return None if value is None else content_of(value, headers)


async def _in_outbox(connection: Connection, calls: Sequence[CallKey]) -> set[CallKey]:
    """Those of the calls that the outbox has."""
    if not calls:
        return set()
    rows = await connection.fetch(_IN_OUTBOX, *zip(*calls, strict=True), timeout=STATEMENT_SECONDS)
    return {(organization_id, call_id) for organization_id, call_id in rows}


def _transcript_length(row: Any) -> int:
    return len(row["transcript"] or "")


_PUBLISHER: Final = "SELECT statement_timestamp(), all_after_organization IS NOT NULL FROM publisher"

_CALLS: Final = f"""
SELECT {", ".join(SHOWN_FIELDS)}, revision FROM calls WHERE $1::uuid IS NULL OR organization_id = $1
ORDER BY organization_id, id
"""

_IN_OUTBOX: Final = """
SELECT DISTINCT organization_id, call_id
FROM call_changes, unnest(organization_ids, call_ids) AS changed(organization_id, call_id)
JOIN unnest($1::uuid[], $2::uuid[]) AS asked(organization_id, call_id) USING (organization_id, call_id)
"""
