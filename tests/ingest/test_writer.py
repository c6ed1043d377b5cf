"""The writer on a distributed PostgreSQL: a COPY that fails on a node."""

import asyncio
from contextlib import closing
from uuid import UUID

import asyncpg
import pytest

from services.ingest.arrivals import Sorted
from services.ingest.lane import COPY_FAULTS_MAX
from services.ingest.writer import Writer
from shared.database.connection import Connection
from shared.settings.ingest import IngestSettings
from tests.support.events import event
from tests.support.processes import until
from tests.support.storing import arrivals

LOCK_TIMEOUT = {"C": "XX000", "M": "canceling statement due to lock timeout", "R": "ReportCopyError"}
CHECK = {
    "C": "XX000",
    "M": 'new row for relation "call_events_102041" violates check constraint "call_events_id_check"',
    "R": "ReportCopyError",
}
NO_OUTBOX = {"C": "XX000", "M": 'relation "public.publisher" does not exist', "R": "ReportCopyError"}


@pytest.fixture
def settings(database_url: str) -> IngestSettings:
    return IngestSettings(database_url=database_url)


def fails(monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], *, times: int, of: str | None) -> None:
    """The next COPYs fail with the words of Citus, or only those that contain the event with this id. No
    PostgreSQL without Citus raises such an error."""
    copy, left = asyncpg.Connection.copy_records_to_table, [times]

    async def copied(self: Connection, table: str, **options: object) -> str:
        records = options["records"]
        assert isinstance(records, list)
        if table == "call_events" and left[0] and (of is None or any(of in row for row in records)):
            left[0] -= 1
            raise asyncpg.PostgresError.new(fields)
        told: str = await copy(self, table, **options)  # type: ignore[arg-type]
        return told

    monkeypatch.setattr(asyncpg.Connection, "copy_records_to_table", copied)


async def test_a_fault_that_passes_is_waited_for(
    settings: IngestSettings, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, LOCK_TIMEOUT, times=COPY_FAULTS_MAX - 1, of=None)
    with closing(Writer(settings, stored=lambda _changes, _bad_records: None)) as writer:
        batch = arrivals(*(event("call.updated", call_id=UUID(int=n + 1)) for n in range(5)))
        assert await asyncio.wait_for(writer.write(Sorted(list(batch), [])), 20)
    assert await database.fetchval("SELECT count(*) FROM call_events") == 5
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 0


async def test_a_row_that_postgresql_refuses_is_that_of_a_record(
    settings: IngestSettings, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some COPYs, single rows tell which one it is."""
    await database.execute("ALTER TABLE call_events ADD CONSTRAINT not_never CHECK (id <> 'never')")
    fails(monkeypatch, CHECK, times=1_000, of="never")
    with closing(Writer(settings, stored=lambda _changes, _bad_records: None)) as writer:
        good = [event("call.updated", call_id=UUID(int=n + 1)) for n in range(5)]
        batch = arrivals(*good, event("call.updated", id="never"))
        assert await asyncio.wait_for(writer.write(Sorted(list(batch), [])), 20)
    assert await database.fetchval("SELECT count(*) FROM call_events") == 5
    assert await database.fetchval("SELECT sum(calls) FROM daily_call_deltas") == 5
    reason = await database.fetchval("SELECT reason FROM quarantined_records")
    assert reason.startswith("PostgreSQL refuses it: ")
    assert "not_never" in reason


async def test_a_server_that_was_added_without_its_outbox_is_waited_for(
    settings: IngestSettings, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its words are those of a table, and not of a record."""
    await database.execute("ALTER TABLE publisher RENAME TO elsewhere")
    fails(monkeypatch, NO_OUTBOX, times=COPY_FAULTS_MAX, of="only")
    with closing(Writer(settings, stored=lambda _changes, _bad_records: None)) as writer:
        batch = arrivals(event("call.updated", id="only"))
        writing = asyncio.create_task(writer.write(Sorted(list(batch), [])))
        await until(lambda: "no outbox yet: run `callfold migrate`" in (writer.waiting or ""), "a wait")
        await database.execute("ALTER TABLE elsewhere RENAME TO publisher")
        assert await asyncio.wait_for(writing, 20)
    assert await database.fetchval("SELECT id FROM call_events") == "only"
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 0
