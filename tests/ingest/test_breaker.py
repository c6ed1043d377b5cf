"""The breaker: a faulty producer pauses ingest instead of filling the quarantine with its topic."""

import asyncio
from contextlib import closing
from uuid import UUID

import pytest

from services.ingest.arrivals import Sorted
from services.ingest.breaker import Breaker, TooManyBadRecords
from services.ingest.writer import Writer
from services.ops.embedded.state import free_ports
from shared.database.connection import Connection
from shared.settings.ingest import IngestSettings
from shared.store.quarantine import BadRecord, write_quarantine
from tests.support.command_line import callfold
from tests.support.events import NOON, ORGANIZATION, event, value
from tests.support.ingesting import call, keyed
from tests.support.monitoring import Monitor
from tests.support.pipeline import Pipeline
from tests.support.processes import lag, publish, until
from tests.support.storing import arrivals, record

Batch = tuple[int, int]
"""The number of records, and of bad ones among them."""

WINDOWS: list[tuple[str, list[Batch], Batch, bool]] = [
    ("the first half of a window is let in", [], (500, 500), False),
    ("a window of which half is bad is let in", [(500, 500)], (500, 0), False),
    ("one more is too many", [(500, 500)], (500, 1), True),
    ("a good batch passes in any window", [(500, 500)], (1, 0), False),
    ("what was before the window does not matter", [(5000, 0), (1000, 0)], (600, 600), False),
    ("nor does it excuse", [(100_000, 0), (1000, 400)], (1000, 700), True),
    ("a large batch is a window of its own", [(1000, 0)], (10_000, 9_000), True),
]


@pytest.mark.parametrize(
    ("before", "batch", "opens"), [window[1:] for window in WINDOWS], ids=[w[0] for w in WINDOWS]
)
def test_more_than_a_share_of_the_window_opens_it(before: list[Batch], batch: Batch, opens: bool) -> None:
    breaker = Breaker(1_000, 0.5)
    for one in before:
        breaker.stored(*one)
    if opens:
        with pytest.raises(TooManyBadRecords, match="of the last"):
            breaker.check(*batch)
    else:
        breaker.check(*batch)


def test_with_a_share_of_one_it_never_opens() -> None:
    Breaker(1, 1.0).check(1_000_000, 1_000_000)


async def test_ingest_pauses_says_why_and_goes_on_when_it_is_let(
    pipeline: Pipeline, bootstrap: str, topic: str, database: Connection
) -> None:
    """Meanwhile no record of the topic is quarantined and no offset is committed. A stop still works."""
    await pipeline.publish([*keyed(call(0)), *([b"no event"] * 400)])
    ingest = pipeline.start(breaker_records="100")
    await until(lambda: ingest.said("pauses: "), "ingest to pause")
    assert ingest.said("the first: the value is not JSON")
    waiting = await lag(bootstrap, topic, f"test-{topic}")
    assert waiting >= 400
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") < 100
    assert ingest.stop() == 0
    await pipeline.run_until_consumed(breaker_records="100", breaker_share="1")
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 400
    await pipeline.assert_proved()


async def test_records_without_a_value_open_nothing_and_are_counted(
    pipeline: Pipeline, topic: str, database: Connection
) -> None:
    """A deletion run by key over a compacted topic does not indicate a faulty producer."""
    monitor = Monitor(*free_ports(1))
    ingest = pipeline.start(breaker_records="100", monitor_port=str(monitor.port))
    tombstones = [(f"call-{n}".encode(), None, (("header", None),)) for n in range(400)]
    await pipeline.publish([*tombstones, *keyed(call(0))])
    await pipeline.consumed()
    await pipeline.assert_exact(1)
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 0
    assert await monitor.value("callfold_ingest_records_total", outcome="no_value") == 400
    assert not ingest.said("pauses: ")


async def test_a_replay_counts_records_without_a_value(
    bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    await publish(bootstrap, topic, [*[(b"key", None, ())] * 9, *keyed(call(0))])
    where = {"kafka_bootstrap": bootstrap, "topic": topic, "database_url": database_url}
    told = await callfold("replay", "--create-organizations", **where)
    assert told.status == 0
    assert told.output.startswith(
        "13 records read: 4 new, 0 duplicate, 0 quarantined, 0 of deleted calls, 9 without a value, "
    )


async def test_a_redrive_lets_go_of_records_without_a_value(database: Connection, database_url: str) -> None:
    """The records were quarantined once."""
    await write_quarantine(database, [BadRecord(record(None), "the record has no value")], NOON)
    told = await callfold("quarantine", "redrive", "--all", "--json", database_url=database_url)
    assert told.json == {"retried": 1, "accepted": 1, "still_quarantined": 0}
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 0


async def test_events_beyond_the_retention_open_nothing(
    pipeline: Pipeline, topic: str, database: Connection
) -> None:
    """A new group that reads a whole topic does not indicate a faulty producer."""
    await database.execute(
        "INSERT INTO organizations (id, name, retention_days) VALUES ($1, 'Acme', 1)", ORGANIZATION
    )
    old = [value("call.updated", id=str(n), timestamp="2026-01-01T00:00:00Z") for n in range(200)]
    await pipeline.publish(old)
    await pipeline.run_until_consumed(breaker_records="100")
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 200


async def test_half_of_a_batch_is_not_judged_by_itself(database_url: str, database: Connection) -> None:
    """A record that PostgreSQL refuses halves the batch, and all bad records are stored with one half."""
    await database.execute("ALTER TABLE call_events ADD CHECK (id <> 'never')")
    good = [event("call.updated", call_id=UUID(int=n + 1)) for n in range(110)]
    batch = arrivals(*good, event("call.updated", id="never"))
    bad = [BadRecord(record(b"no event", offset=n + 1_000), "the value is not JSON") for n in range(100)]
    settings = IngestSettings(database_url=database_url, breaker_records=50)
    with closing(Writer(settings, stored=lambda _changes, _bad_records: None)) as writer:
        assert await asyncio.wait_for(writer.write(Sorted(list(batch), bad)), 20)
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 101
    assert await database.fetchval("SELECT count(*) FROM call_events") == 110


async def test_events_that_their_organization_does_not_take_count_as_bad(
    pipeline: Pipeline, database: Connection
) -> None:
    strangers = [value("call.updated", id=str(n)) for n in range(200)]
    await pipeline.publish(strangers)
    ingest = pipeline.start(breaker_records="100", unknown_organizations="quarantine")
    await until(lambda: ingest.said("pauses: "), "ingest to pause")
    assert await database.fetchval("SELECT count(*) FROM call_events") == 0
