"""The breaker: a producer gone wrong pauses ingest, rather than emptying its topic into the quarantine."""

import asyncio
from contextlib import closing
from uuid import UUID

import pytest

from services.ingest.breaker import Breaker, TooManyBadRecords
from services.ingest.metrics import IDLE, Metrics
from services.ingest.writer import Writer
from services.ops.proof import prove
from shared.database import Connection
from shared.quarantine import BadRecord
from shared.settings import IngestSettings
from tests.events import ORGANIZATION, event, value
from tests.ingesting import StartIngest, call, caught_up, has_said, keyed
from tests.processes import lag, publish, until
from tests.storing import arrivals, record

Batch = tuple[int, int]
"""Records, and how many of them are bad."""

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
    start_ingest: StartIngest, bootstrap: str, topic: str, database_url: str, database: Connection
) -> None:
    """Nothing of the topic is quarantined meanwhile, and no offset moves; a stop is a stop."""
    await publish(bootstrap, topic, [*keyed(call(0)), *([b"no event"] * 400)])
    ingest = start_ingest(breaker_records="100")
    await until(lambda: has_said(ingest, "pauses: "), "ingest to pause")
    assert ingest.said("the first: the value is not JSON")
    waiting = await lag(bootstrap, topic, f"test-{topic}")
    assert waiting >= 400
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") < 100
    assert ingest.stop() == 0
    start_ingest(breaker_records="100", breaker_share="1")
    await caught_up(bootstrap, topic)
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 400
    assert (await prove(database_url)).exact


async def test_events_beyond_the_retention_open_nothing(
    start_ingest: StartIngest, bootstrap: str, topic: str, database: Connection
) -> None:
    """A new group that reads all of a topic is no producer gone wrong."""
    await database.execute(
        "INSERT INTO organizations (id, name, retention_days) VALUES ($1, 'Acme', 1)", ORGANIZATION
    )
    old = [value("call.updated", id=str(n), timestamp="2026-01-01T00:00:00Z") for n in range(200)]
    await publish(bootstrap, topic, old)
    start_ingest(breaker_records="100")
    await caught_up(bootstrap, topic)
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 200


async def test_half_of_a_batch_is_not_judged_by_itself(database_url: str, database: Connection) -> None:
    """A record that PostgreSQL refuses halves the batch, and all that is bad goes with one half."""
    await database.execute("ALTER TABLE call_events ADD CHECK (id <> 'never')")
    good = [event("call.updated", call_id=UUID(int=n + 1)) for n in range(110)]
    batch = arrivals(*good, event("call.updated", id="never"))
    bad = [BadRecord(record(b"no event", offset=n + 1_000), "the value is not JSON") for n in range(100)]
    settings = IngestSettings(database_url=database_url, breaker_records=50)
    with closing(Writer(settings, Metrics(IDLE), asyncio.Event())) as writer:
        assert await asyncio.wait_for(writer.write(batch, bad), 20)
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 101
    assert await database.fetchval("SELECT count(*) FROM call_events") == 110


async def test_events_that_their_organization_does_not_take_count_as_bad(
    start_ingest: StartIngest, bootstrap: str, topic: str, database: Connection
) -> None:
    strangers = [value("call.updated", id=str(n)) for n in range(200)]
    await publish(bootstrap, topic, strangers)
    ingest = start_ingest(breaker_records="100", unknown_organizations="quarantine")
    await until(lambda: has_said(ingest, "pauses: "), "ingest to pause")
    assert await database.fetchval("SELECT count(*) FROM call_events") == 0
