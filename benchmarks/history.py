"""A database with a history: a year of calls of one large organization and 300 small ones.

SQL derives calls and events from their numbers, so the same arguments give the same rows. Each call is the
fold of one event, which has all its fields. `rebuild` computes the counts, and the aggregator's statement
applies them."""

import asyncio
import hashlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import date, timedelta
from typing import Final
from uuid import UUID

from services.aggregator.apply_deltas import apply_deltas
from services.ops.repair.rebuild import rebuild_organization
from shared.api_keys import key_hash, key_hint
from shared.calls.fold import LAWS
from shared.database.connection import Connection, connect
from shared.database.schema_step import NEEDED_STEP, READ_STEP
from shared.migrations.give_roles import give_roles
from shared.migrations.upgrade import upgrade

DAYS: Final = 366
FIRST_DAY: Final = date(2025, 11, 1)
LAST_DAY: Final = FIRST_DAY + timedelta(days=DAYS - 1)
ORGANIZATION: Final = UUID("00000000-0000-4000-8000-000000000000")
"""The large organization, with two of every five calls."""
SMALL_ORGANIZATIONS: Final = 300
PHONE_NUMBERS: Final = 20
"""Of the large organization. A small one has one."""
KEY: Final = "kros_live_benchmark_0123456789_0123456789_0123456789"

_APPLIED_AT_ONCE: Final = 20_000
_STATEMENT_SECONDS: Final = 3600


def _bits(salt: int) -> str:
    """A pseudo-random whole number from 0, derived from the number of the call."""
    return f"(hashint8extended(n, {salt}) & 4294967295)"


def _share(salt: int) -> str:
    """The same, at least 0 and less than 1."""
    return f"({_bits(salt)} / 4294967296.0::float8)"


def _wait(salt: int) -> str:
    """A pseudo-random waiting time, 1 on average."""
    return f"-ln(1 - {_share(salt)})"


# Timestamps are whole milliseconds, which neither JSON nor arithmetic rounds.
_MADE: Final = f"""
SELECT organization_id, id, 'evt_' || to_hex(hashint8extended(n, 1)) AS event_id, status, direction,
    '+4930' || 10000000 + ({_bits(2)} & 8388607) AS from_number,
    '+1212' || 10000000 + ({_bits(3)} & 8388607) AS to_number,
    phone_number_id, duration, (duration * 0.0125)::numeric(14, 4) AS cost, latency_ms,
    CASE status
        WHEN 'completed' THEN 'NORMAL_CLEARING' WHEN 'busy' THEN 'USER_BUSY'
        WHEN 'no_answer' THEN 'NO_ANSWER' WHEN 'canceled' THEN 'ORIGINATOR_CANCEL'
        ELSE (ARRAY['CALL_REJECTED', 'UNALLOCATED_NUMBER', 'NETWORK_OUT_OF_ORDER', 'SWITCH_CONGESTION'])
            [1 + ({_bits(4)} & 3)]
    END AS hangup_cause,
    CASE WHEN duration > 0 AND {_share(5)} < 0.3
        THEN 'https://recordings.example/' || id || '.wav' END AS recording_url,
    created_at,
    CASE WHEN status = 'completed' THEN created_at + rung END AS answered_at,
    created_at + rung + coalesce(duration, 0) * interval '1 second' AS completed_at
FROM (
    SELECT n, md5('call ' || n)::uuid AS id,
        CASE WHEN large THEN '{ORGANIZATION}'
            ELSE md5('organization ' || {_bits(6)} % {SMALL_ORGANIZATIONS})::uuid
        END AS organization_id,
        md5(CASE WHEN large THEN 'number ' || {_bits(7)} % {PHONE_NUMBERS}
            ELSE 'number of ' || {_bits(6)} % {SMALL_ORGANIZATIONS} END)::uuid AS phone_number_id,
        status,
        CASE WHEN {_share(8)} < 0.6 THEN 'inbound' ELSE 'outbound' END AS direction,
        CASE WHEN status = 'completed' THEN 1 + floor(120 * {_wait(9)})::int END AS duration,
        CASE WHEN status = 'completed' THEN 80 + floor(250 * {_wait(10)})::int END AS latency_ms,
        '{FIRST_DAY}'::date::timestamptz
            + (n * ({DAYS} * 86400000.0 / $3))::bigint * interval '1 millisecond' AS created_at,
        (1500 + 6000 * {_wait(11)})::bigint * interval '1 millisecond' AS rung
    FROM (
        SELECT n, n % 5 < 2 AS large,
            (ARRAY['completed', 'no_answer', 'busy', 'failed', 'canceled'])
                [1 + width_bucket({_share(12)}, ARRAY[0.72, 0.85, 0.92, 0.97]::float8[])] AS status
        FROM generate_series($1::bigint, $2::bigint - 1) AS n
    ) AS numbered
) AS made
"""  # noqa: S608 - made of constants

_EVENTS: Final = f"""
INSERT INTO call_events (organization_id, call_id, id, type, occurred_at, payload)
SELECT organization_id, id, event_id, 'call.initiated', created_at,
    json_strip_nulls(json_build_object(
        'id', event_id, 'type', 'call.initiated', 'organization_id', organization_id, 'call_id', id,
        'timestamp', created_at, 'livemode', true,
        'data', json_build_object(
            'status', status, 'direction', direction, 'from_number', from_number, 'to_number', to_number,
            'phone_number_id', phone_number_id, 'duration', duration, 'cost', cost, 'latency_ms', latency_ms,
            'hangup_cause', hangup_cause, 'recording_url', recording_url,
            'answered_at', answered_at, 'completed_at', completed_at)))
FROM ({_MADE}) AS made
"""  # noqa: S608

_COLUMNS: Final = (
    "organization_id, id, status, direction, from_number, to_number, phone_number_id, duration, cost, "
    "latency_ms, hangup_cause, recording_url, created_at, answered_at, completed_at"
)

# The organizations are in UTC.
_CALLS: Final = f"""
INSERT INTO calls ({_COLUMNS}, livemode, day, hour, version, laws)
SELECT {_COLUMNS}, true, created_at::date, extract(hour FROM created_at), 1, {LAWS} FROM ({_MADE}) AS made
"""  # noqa: S608

_ORGANIZATIONS: Final = f"""
INSERT INTO organizations (id, name)
SELECT '{ORGANIZATION}'::uuid, 'large'
UNION ALL
SELECT md5('organization ' || n)::uuid, 'small' FROM generate_series(0, {SMALL_ORGANIZATIONS - 1}) AS n
"""  # noqa: S608

_KEY: Final = f"""
INSERT INTO api_keys (organization_id, id, livemode, key_hash, hint)
VALUES ('{ORGANIZATION}', gen_random_uuid(), true, $1, $2)
"""  # noqa: S608

_INDEXES: Final = """
SELECT 'ALTER TABLE ' || conrelid::regclass || ' DROP CONSTRAINT ' || conname AS drop,
    'ALTER TABLE ' || conrelid::regclass || ' ADD CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid)
        AS make
FROM pg_constraint WHERE contype = 'p' AND conrelid IN ('calls'::regclass, 'call_events'::regclass)
UNION ALL
SELECT 'DROP INDEX ' || indexrelid::regclass, pg_get_indexdef(indexrelid)
FROM pg_index
WHERE indrelid IN ('calls'::regclass, 'call_events'::regclass) AND NOT indisprimary
"""


def small_organizations() -> list[UUID]:
    """The ids of the small organizations."""
    names = (f"organization {n}" for n in range(SMALL_ORGANIZATIONS))
    return [UUID(hashlib.md5(name.encode()).hexdigest()) for name in names]  # noqa: S324 (as the rows)


def phone_number(number: int) -> UUID:
    """The id of the n-th phone number of the large organization, counted from 0."""
    return UUID(hashlib.md5(f"number {number}".encode()).hexdigest())  # noqa: S324 (as the SQL above makes it)


def name_of(calls: int) -> str:
    """The name of the database with this many calls. Different rows get a different name."""
    made_by = hashlib.sha256(f"{_EVENTS}{_CALLS}{_ORGANIZATIONS}".encode()).hexdigest()
    return f"calls_{calls}_{made_by[:8]}"


async def ensure(url_of: Callable[[str], str], calls: int) -> str:
    """Returns the URL of a database with this many calls, at the newest step and with the services' roles.
    Creates it if it does not exist. `url_of` returns the URL of any database of the server. Raises asyncpg's
    errors."""
    name = name_of(calls)
    server = await connect(url_of("postgres"), application_name="callfold-benchmark")
    try:
        if not await server.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name):
            # Created under another name, so that an interrupted one is not used.
            await server.execute('DROP DATABASE IF EXISTS "filling"')
            await server.execute('CREATE DATABASE "filling"')
            await _make(url_of("filling"), calls)
            await server.execute(f'ALTER DATABASE "filling" RENAME TO "{name}"')
    finally:
        await server.close()
    await _renew(url_of(name))
    await give_roles(url_of(name))
    return url_of(name)


async def _make(url: str, calls: int) -> None:
    await asyncio.to_thread(upgrade, url)
    async with _session(url) as connection:
        indexes = await connection.fetch(_INDEXES)
        for index in indexes:
            await connection.execute(index["drop"])
        await connection.execute(_ORGANIZATIONS)
        await connection.execute(_KEY, key_hash(KEY), key_hint(KEY))
        for table, statement in (("events", _EVENTS), ("calls", _CALLS)):
            with _told(f"{calls:,} {table}"):
                await connection.execute(statement, 0, calls, calls)
        with _told(f"{len(indexes)} indexes"):
            for index in indexes:
                await connection.execute(index["make"])
        await connection.execute("VACUUM (ANALYZE) calls, call_events, organizations")
        await _count(connection)


async def _renew(url: str) -> None:
    """Migrates a database of an older step to the newest, with its counts."""
    async with _session(url) as connection:
        if await connection.fetchval(READ_STEP) != NEEDED_STEP:
            await asyncio.to_thread(upgrade, url)
            await _count(connection)


async def _count(connection: Connection) -> None:
    with _told("counts"):
        for (organization_id,) in await connection.fetch("SELECT id FROM organizations ORDER BY id"):
            await rebuild_organization(connection, organization_id, actor="benchmark")
            while await apply_deltas(connection, _APPLIED_AT_ONCE):
                pass
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[Connection]:
    connection = await connect(
        url,
        application_name="callfold-benchmark",
        command_timeout_seconds=_STATEMENT_SECONDS,
        settings={"maintenance_work_mem": "1GB", "synchronous_commit": "off"},
    )
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Prints how long the block took."""
    began = time.perf_counter()
    yield
    print(f"  {what}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
