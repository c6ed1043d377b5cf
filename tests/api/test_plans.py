"""Plans: the hot statements find their rows by an index, and read few of them.

One organization has nine tenths of all calls, on a few phone numbers, so that a sequential scan looks cheap
to the planner. Each statement runs many times on one connection, where PostgreSQL would switch to a generic
plan if it were allowed to. Row-level security applies; its conditions come before those of the statement.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, get_args
from uuid import UUID

import pytest

from services.api.access import credentials
from services.api.calls import detail, pages
from services.api.calls.events import EVENTS, EVENTS_MAX
from services.api.calls.list_query import CallFilters
from services.api.calls.recording import RECORDING
from services.api.database.databases import Database, open_databases
from services.api.figures import calls_per_day, concurrency, sums
from services.api.figures.cell_filters import Filters
from services.api.figures.intervals import Interval
from shared.api_keys import key_hash
from shared.calls.hangup import SPELLINGS
from shared.database.connection import Connection
from shared.database.statement import Statement
from shared.settings.api import ApiSettings
from tests.support.roles import as_role

pytestmark = pytest.mark.one_postgres("Citus refuses its way to fill the tables in one transaction")

ACME = UUID(int=1)
PHONE = UUID(int=3)

SEED = """
INSERT INTO organizations (id, name)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'o' || n FROM generate_series(1, 3000) n;
INSERT INTO api_keys (organization_id, id, livemode, key_hash, hint)
SELECT id, gen_random_uuid(), true, sha256(name::bytea), name FROM organizations;
INSERT INTO calls (organization_id, id, livemode, status, direction, phone_number_id, endpoint_id,
    from_number, to_number, created_at, day, version)
SELECT lpad(to_hex(CASE WHEN n % 10 = 0 THEN 2 + n % 100 ELSE 1 END), 32, '0')::uuid,
    lpad(to_hex(n), 32, '0')::uuid, true, CASE n % 3 WHEN 0 THEN 'busy' ELSE 'completed' END,
    CASE n % 2 WHEN 0 THEN 'inbound' ELSE 'outbound' END, lpad(to_hex(n % 50), 32, '0')::uuid,
    lpad(to_hex(n % 50), 32, '0')::uuid, '+493' || lpad((n % 400)::text, 5, '0'),
    '+493' || lpad((n % 400)::text, 5, '0'), at, (at AT TIME ZONE 'UTC')::date, 1
FROM (
    SELECT n, '2026-11-24T12:00:00Z'::timestamptz - n * interval '15 minutes' AS at
    FROM generate_series(1, 30000) n
) AS times;
INSERT INTO daily_call_counts
SELECT organization_id, livemode, day, direction, phone_number_id, status, count(*), 0, 0, 0, 0, 0
FROM calls GROUP BY 1, 2, 3, 4, 5, 6;
INSERT INTO daily_call_totals
SELECT organization_id, livemode, day, direction, status, sum(calls), 0, 0, 0, 0, 0
FROM daily_call_counts GROUP BY 1, 2, 3, 4, 5;
INSERT INTO daily_call_deltas (organization_id, livemode, day, direction, phone_number_id, status,
    calls, answered, duration_seconds, cost_cents, latency_ms, latency_calls)
SELECT organization_id, livemode, day, direction, phone_number_id, status,
    calls, answered, duration_seconds, cost_cents, latency_ms, latency_calls
FROM daily_call_counts LIMIT 200;
ANALYZE organizations, api_keys, calls, daily_call_counts, daily_call_totals, daily_call_deltas;
"""


@pytest.fixture
async def api_database(database_url: str, database: Connection) -> AsyncIterator[Database]:
    await database.execute(SEED)
    settings = ApiSettings(database_url=as_role(database_url), api_pool_connections=1)
    async with open_databases(settings) as opened:
        yield opened.reading


def asked(**filters: Any) -> Filters:
    return Filters(**{"organization_id": ACME, "livemode": True, **filters})


class Scan(NamedTuple):
    """How a plan reads a table, and how many rows it reads."""

    table: str
    by: str | None
    rows: int


async def scans(database: Database, statement: Statement, **parameters: Any) -> dict[str, Scan]:
    """Runs the statement a dozen times, as a request of its organization, and then returns its plan's scans,
    by table."""
    return {scan.table: scan for scan in await all_scans(database, statement, **parameters)}


async def all_scans(database: Database, statement: Statement, **parameters: Any) -> list[Scan]:
    """The same for a statement that reads a table more than once."""
    async with database.snapshot(parameters["organization_id"]) as connection:
        for _ in range(12):
            await statement.fetch(connection, **parameters)
        explaining = Statement(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement.sql}")
        explained = await explaining.fetchval(connection, **parameters)
        plans = await connection.fetchrow(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1",
            statement.numbered,
        )
    assert plans is not None
    assert plans["generic_plans"] == 0
    assert plans["custom_plans"] >= 12
    return list(_scans(json.loads(explained)[0]["Plan"]))


def _scans(node: dict[str, Any], table: str = "") -> Iterator[Scan]:
    table = node.get("Relation Name", table)
    children = node.get("Plans", [])
    for child in children:
        yield from _scans(child, table)
    if table and node["Node Type"] in ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan"):
        looked_at = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        yield Scan(table, node.get("Index Name"), round(looked_at * node["Actual Loops"]))


# A plan does not show the reads of a function. The statistics are of this session since its last report.
READ = """
SELECT relname, coalesce(seq_scan, 0) AS from_end_to_end, coalesce(idx_tup_fetch, 0) AS by_index
FROM pg_stat_xact_user_tables WHERE relname IN ('api_keys', 'members', 'organizations') ORDER BY 1
"""


async def reads(database: Database, statement: Statement, **parameters: Any) -> dict[str, tuple[int, int]]:
    """For each table that a function may read: the sequential scans, and the rows fetched by an index."""
    async with database.connection() as connection, connection.transaction():
        await statement.fetch(connection, **parameters)  # planning also reads rows
        before = await connection.fetch(READ)
        await statement.fetch(connection, **parameters)
        after = await connection.fetch(READ)
    return {
        now["relname"]: (
            now["from_end_to_end"] - then["from_end_to_end"],
            now["by_index"] - then["by_index"],
        )
        for then, now in zip(before, after, strict=True)
    }


async def test_a_key_is_looked_up_by_its_hash(api_database: Database) -> None:
    by_index = {"api_keys": (0, 1), "members": (0, 0), "organizations": (0, 1)}

    assert await reads(api_database, credentials.KEYS, hashes=[key_hash("o7")]) == by_index


async def test_a_member_is_looked_up_by_the_user(api_database: Database, database: Connection) -> None:
    """It only reads the memberships of the user, which are six here."""
    await database.execute(
        "INSERT INTO members SELECT id, lpad(to_hex(n % 500), 32, '0')::uuid, now() + n * interval '1 s' "
        "FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM organizations) AS numbered;"
        "ANALYZE members"
    )

    for organization_id in (None, UUID(int=1007)):
        read = await reads(
            api_database, credentials.MEMBERS, user_ids=[UUID(int=7)], organization_ids=[organization_id]
        )
        for table in ("members", "organizations"):
            from_end_to_end, by_index = read[table]
            assert from_end_to_end == 0
            assert 1 <= by_index <= 6


def searched(**filters: Any) -> CallFilters:
    """Filters of a list."""
    cells = asked().parameters
    return CallFilters(
        asked(**{name: value for name, value in filters.items() if name in cells}),
        {name: value for name, value in filters.items() if name not in cells},
    )


FIRST = {"after_time": None, "after_id": None, "limit": 20, "offset": 0}
"""The first page."""


async def test_the_list_reads_a_page_of_its_index(api_database: Database) -> None:
    async def listing(*, page: int = 1, look_at: int | None = None, **filters: Any) -> Scan:
        parameters = {**searched(**filters).parameters, **FIRST, "calls_looked_at": look_at}
        parameters["offset"] = 20 * (page - 1)
        return (await scans(api_database, pages.PAGE["desc"], **parameters))["calls"]

    newest = "calls_newest_idx"
    assert await listing() == Scan("calls", newest, 20)
    assert await listing(page=5) == Scan("calls", newest, 100)
    assert (await listing(status=["busy"])).by == newest
    assert (await listing(status=["busy"])).rows <= 100
    # Days in the past: the index scan begins at their end, not at today.
    old = await listing(start_date=date(2026, 2, 1), end_date=date(2026, 2, 28))
    assert old.by == newest
    assert old.rows <= 20 + 2 * 96
    assert await listing(start_date=date(2027, 1, 1)) == Scan("calls", newest, 0)
    few = await listing(organization_id=UUID(int=12))
    assert few == Scan("calls", newest, 20)
    # If no call has the status, the scan stops at its limit.
    assert await listing(status=["canceled"], look_at=500) == Scan("calls", newest, 500)

    known: dict[str, tuple[Any, Any]] = {
        "phone_number": (PHONE, UUID(int=999)),
        "endpoint": (PHONE, UUID(int=999)),
        "from_number": ("+49300003", "+490"),
        "to_number": ("+49300003", "+490"),
    }
    for name, (some, none) in known.items():
        index = f"calls_newest_of_{name}_idx"
        column = name if name.endswith("_number") and name != "phone_number" else f"{name}_id"
        assert await listing(**{column: some}) == Scan("calls", index, 20)
        assert await listing(**{column: none}) == Scan("calls", index, 0)


async def test_a_cursor_enters_the_index_where_it_points(api_database: Database) -> None:
    after = {"after_time": datetime(2026, 5, 1, tzinfo=UTC), "after_id": UUID(int=7)}
    place = {**FIRST, **after, "calls_looked_at": None}
    for page in pages.PAGE.values():
        found = await scans(api_database, page, **searched().parameters, **place)
        assert found["calls"] == Scan("calls", "calls_newest_idx", 20)
        found = await scans(api_database, page, **searched(from_number="+49300003").parameters, **place)
        assert found["calls"] == Scan("calls", "calls_newest_of_from_number_idx", 20)


async def test_what_is_searched_for_is_found_by_its_index(api_database: Database) -> None:
    async def search(**filters: Any) -> set[Scan]:
        parameters = {**searched(**filters).parameters, **FIRST, "after_value": None}
        return set(await all_scans(api_database, pages.SEARCH["created_at", "desc"], **parameters))

    assert await search(id=UUID(int=7)) == {Scan("calls", "calls_pkey", 1)}
    for column in ("from", "to"):
        prefix = {f"{column}_first": "+4930003", f"{column}_after": "+4930004"}
        found = await search(**prefix)
        assert {scan.by for scan in found} == {f"calls_newest_of_{column}_number_idx", "calls_pkey"}
    span = {"start_date": date(2026, 11, 20), "end_date": date(2026, 11, 21)}
    for filters in (
        {"hangup_cause": "USER_BUSY"},
        {"number_part": "0031"},
        {"min_duration": 1},
        {"effective": True},
        {"other_cause_spellings": list(SPELLINGS)},
    ):
        found = await search(**span, **filters)
        assert {scan.by for scan in found} == {"calls_newest_idx", "calls_pkey"}
        assert all(scan.rows <= 5 * 96 for scan in found)


async def test_counts_are_read_by_organization_and_days(api_database: Database) -> None:
    november = asked(start_date=date(2026, 11, 1), end_date=date(2026, 11, 24))
    by_phone_number = replace(november, phone_number_id=PHONE)

    async def reads(statement: Statement, filters: Filters, **parameters: Any) -> str:
        """The one table of counts that a statement reads, by its key and only for its days."""
        found = await scans(api_database, statement, **filters.parameters, **parameters)
        read = {name: scan for name, scan in found.items() if scan.rows and name != "daily_call_deltas"}
        (counts,) = read.keys() - {"organizations", "calls"}
        assert found[counts].by == f"{counts}_pkey"
        assert found[counts].rows <= 24 * 96
        return counts

    of_parts: dict[str, Any] = {"days_after": 0, "rows_max": 20_000}
    of_groups: dict[str, Any] = {"groups_max": 1000}
    for filters, table in ((november, "daily_call_totals"), (by_phone_number, "daily_call_counts")):
        for interval in get_args(Interval):
            statement = sums.parts_statement(filters, interval, "status", sums.DISTRIBUTIONS)
            assert await reads(statement, filters, **of_parts) == table
        assert await reads(sums.groups_statement(filters, "direction"), filters, **of_groups) == table
    by_number = sums.groups_statement(november, "phone_number")
    assert await reads(by_number, november, **of_groups) == "daily_call_counts"
    for measured in (None, ("answered", True), ("seizure", False), ("effective", True)):
        days = {by: calls_per_day.DAYS[by, measured] for by in (False, True)}
        for statements in (days, calls_per_day.TOTAL, calls_per_day.LONG_DAYS):
            assert await reads(statements[False], november) == "daily_call_totals"
            assert await reads(statements[True], by_phone_number) == "daily_call_counts"


async def test_a_generic_plan_reads_the_counts_of_the_changed_days_alone(api_database: Database) -> None:
    days = [date(2026, 10, 3), date(2026, 11, 2)]
    for filters, table in (
        (asked(), "daily_call_totals"),
        (asked(phone_number_id=PHONE), "daily_call_counts"),
    ):
        statement = sums.parts_statement(filters, "day", None, sums.DISTRIBUTIONS, of_days=True)
        values = statement.values({**filters.parameters, "days": days, "days_after": 0, "rows_max": 400})

        async with api_database.snapshot(ACME, generic_plans=True) as connection:
            await connection.fetch(statement.numbered, *values)
            name = await connection.fetchval(
                "SELECT name FROM pg_prepared_statements WHERE statement = $1 AND generic_plans = 1",
                statement.numbered,
            )
            explained = await connection.fetchval(
                "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "
                f"EXECUTE {name} ({', '.join(map(literal, values))})"
            )

        read = {scan.table: scan for scan in _scans(json.loads(explained)[0]["Plan"])}
        assert read[table].by == f"{table}_pkey"
        assert 0 < read[table].rows <= 2 * 96


def literal(value: object) -> str:
    """A parameter of EXECUTE."""
    if isinstance(value, list):
        value = f"{{{','.join(map(str, value))}}}"
    return "NULL" if value is None else f"'{value}'"


async def test_totals_are_read_only_where_they_are_complete(
    api_database: Database, database: Connection
) -> None:
    await database.execute("UPDATE organizations SET has_totals = false WHERE id = $1", ACME)

    statement = sums.groups_statement(asked(), "status")
    found = await scans(api_database, statement, **asked().parameters, groups_max=1000)

    assert found["daily_call_totals"].rows == 0
    assert found["daily_call_counts"].rows > 0


async def test_a_peak_is_looked_for_among_the_calls_of_its_days(api_database: Database) -> None:
    week = asked(start_date=date(2026, 11, 1), end_date=date(2026, 11, 7))
    begin, end = (datetime(2026, 11, day, tzinfo=UTC) for day in (2, 8))
    span = {**week.parameters, "begin": begin, "end": end}

    earlier = [date(2026, 3, 1), date(2026, 6, 1)], [date(2026, 3, 3), date(2026, 6, 1)]
    for (first_days, last_days), most in (([], []), 9 * 96), (earlier, (9 + 5 + 3) * 96):
        runs = {"first_days": first_days, "last_days": last_days}
        found = await all_scans(api_database, concurrency.PEAK, **span, **runs)
        assert {scan.by for scan in found if scan.table == "calls"} == {"calls_newest_idx"}
        assert sum(scan.rows for scan in found if scan.table == "calls") <= most


async def test_a_call_and_its_events_are_found_by_their_keys(
    api_database: Database, database: Connection
) -> None:
    await database.execute(
        "INSERT INTO call_events SELECT organization_id, id, 'e' || n, 'call.initiated', created_at, '{}' "
        "FROM calls, generate_series(1, 3) AS n WHERE day > '2026-09-01'; ANALYZE call_events"
    )

    of_call = {"organization_id": ACME, "livemode": True, "call_id": UUID(int=1)}
    page = await scans(api_database, EVENTS, **of_call, limit=EVENTS_MAX, offset=0)
    assert page["call_events"] == Scan("call_events", "call_events_pkey", 3)
    for event_id in (None, "e2"):
        recording = await scans(api_database, RECORDING, **of_call, event_id=event_id)
        assert recording["calls"].by == "calls_pkey"
        assert recording["call_events"].by == "call_events_pkey"

    found = await all_scans(api_database, detail.DETAIL, **of_call, limit=EVENTS_MAX, offset=0)

    events = Scan("call_events", "call_events_pkey", 3)
    assert sorted(found) == [events, events, Scan("calls", "calls_pkey", 1)]
