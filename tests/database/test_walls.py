"""Row-level security between organizations: a statement without a condition on the organization returns the
rows of its request's organization, and never another's."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.api.calls import pages
from services.api.database.databases import Database, changing, open_databases
from services.api.figures import sums
from services.api.figures.cell_filters import Filters
from services.ops.embedded.servers import Servers
from shared.database import roles
from shared.database.connection import Connection
from shared.database.statement import Statement
from shared.database.tables import metadata
from shared.settings.api import ApiSettings
from shared.store.quarantine import BadRecord
from tests.support import seed
from tests.support.api import bearing, get, serving
from tests.support.events import CALL, NOON, value
from tests.support.pgbouncer import needs_pgbouncer, pgbouncer
from tests.support.roles import OWNER, as_role
from tests.support.seed import Tenant
from tests.support.storing import record, store

READABLE = (
    "calls",
    "call_events",
    "count_days",
    "deleted_calls",
    "daily_call_counts",
    "daily_call_totals",
    "daily_call_deltas",
    "pruned_call_counts",
    "webhooks",
    "webhook_deliveries",
    "webhook_messages",
)
"""The columns of organizations that the API may read."""


@pytest.fixture
async def tenants(database: Connection) -> tuple[Tenant, Tenant]:
    """Acme with two calls and a neighbour with three, and rows of both in every other table."""
    both = (await seed.tenant(database), await seed.tenant(database))
    for tenant, calls_ in zip(both, (2, 3), strict=True):
        for n in range(calls_):
            await seed.call(database, tenant, applied=n == 0)
        await database.execute("INSERT INTO deleted_calls VALUES ($1, $2)", tenant.id, uuid4())
        await database.execute(
            "INSERT INTO pruned_call_counts "
            "VALUES ($1, true, '2020-01-01', 'inbound', $1, 'busy', 0, 0, 0, 0, 0, 0)",
            tenant.id,
        )
        await database.execute("INSERT INTO members VALUES ($1, $2)", tenant.id, uuid4())
        await seed.webhook(database, tenant.id)
        await database.execute(
            "INSERT INTO audit_log (organization_id, actor, action, subject) VALUES ($1, 'x', 'y', 'z')",
            tenant.id,
        )
    return both


@pytest.fixture(
    params=["direct", pytest.param("pooled", marks=[needs_pgbouncer, pytest.mark.embedded_postgres])]
)
async def api_database(
    request: pytest.FixtureRequest, running: Servers, database_url: str
) -> AsyncIterator[Database]:
    """The API's connection to the database: one connection, so that each request uses the session of the
    previous one. It leads to PostgreSQL itself, or through PgBouncer, which also has one session."""
    if request.param == "direct":
        settings = ApiSettings(database_url=as_role(database_url), api_pool_connections=1)
        async with open_databases(settings) as opened:
            yield opened.primary
        return
    with tempfile.TemporaryDirectory(prefix="callfold-walls-") as scratch:
        Path(scratch).chmod(0o777)
        async with pgbouncer(running, Path(scratch), pool_size=1) as pooler:
            settings = ApiSettings(
                database_url=as_role(pooler.url(database_url)),
                database_pooler="transaction",
                api_pool_connections=1,
            )
            async with open_databases(settings) as opened:
                yield opened.primary


async def owners(connection: Any, table: str) -> set[UUID]:
    """The organizations whose rows an unconditional statement returns."""
    asked = f"SELECT {roles.tenant_tables()[table]} FROM {table}"  # noqa: S608
    return {row[0] for row in await connection.fetch(asked)}


async def test_whoever_asks_for_all_rows_sees_the_request_s_organization_s(
    api_database: Database, tenants: tuple[Tenant, Tenant]
) -> None:
    acme, neighbour = tenants
    for tenant in (acme, neighbour, acme):
        async with api_database.snapshot(tenant.id) as connection:
            for table in READABLE:
                assert await owners(connection, table) == {tenant.id}, table
        async with api_database.connection() as connection, changing(connection, tenant.id):
            for table in READABLE:
                assert await owners(connection, table) == {tenant.id}, table


async def test_outside_of_a_request_there_is_nothing_to_see(
    api_database: Database, tenants: tuple[Tenant, Tenant]
) -> None:
    """In a session that was never used, after a request, and after a failed request."""

    async def sees_nothing() -> None:
        async with api_database.connection() as connection:
            for table in READABLE:
                assert await owners(connection, table) == set(), table

    await sees_nothing()
    async with api_database.snapshot(tenants[0].id) as connection:
        await connection.fetch("SELECT FROM calls")
    await sees_nothing()
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with api_database.snapshot(tenants[0].id) as connection:
            await connection.fetch("SELECT 1 / 0")
    await sees_nothing()
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with api_database.connection() as connection, changing(connection, tenants[0].id):
            await connection.fetch("SELECT 1 / 0")
    await sees_nothing()


@pytest.mark.parametrize(
    "table",
    sorted(set(roles.tenant_tables()) - {*READABLE, "organizations", "api_keys", "quarantined_records"}),
)
async def test_what_the_api_has_no_use_for_it_can_not_read(
    api_database: Database, tenants: tuple[Tenant, Tenant], table: str
) -> None:
    async with api_database.snapshot(tenants[0].id) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(f"SELECT * FROM {table}")  # noqa: S608


async def test_of_the_quarantine_the_api_finds_and_deletes_its_own_and_reads_no_content(
    api_database: Database, database: Connection, tenants: tuple[Tenant, Tenant]
) -> None:
    acme, neighbour = tenants
    values = [value("call.noted", organization_id=one.id) for one in tenants]
    bad = [BadRecord(record(one, offset=n), "bad") for n, one in enumerate((*values, b"{"))]
    await store(database, [], bad, now=NOON)
    for column in set(metadata.tables["quarantined_records"].columns.keys()) - {"organization_id", "call_id"}:
        async with api_database.snapshot(acme.id) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f'SELECT "{column}" FROM quarantined_records')  # noqa: S608
    async with api_database.connection() as connection, changing(connection, acme.id):
        seen = await connection.fetch("SELECT organization_id, call_id FROM quarantined_records")
        assert [tuple(row) for row in seen] == [(acme.id, CALL)]
        assert await connection.execute("DELETE FROM quarantined_records") == "DELETE 1"
    left = await database.fetch("SELECT organization_id FROM quarantined_records")
    assert {row["organization_id"] for row in left} == {neighbour.id, None}


async def test_what_is_another_s_can_not_be_changed(
    api_database: Database, database: Connection, tenants: tuple[Tenant, Tenant]
) -> None:
    acme, neighbour = tenants
    before = [tuple(row) for row in await database.fetch("SELECT * FROM calls ORDER BY id")]
    async with api_database.connection() as connection:
        for statement in (
            "UPDATE calls SET status = 'failed' WHERE organization_id = $1",
            "DELETE FROM calls WHERE organization_id = $1",
            "DELETE FROM call_events WHERE organization_id = $1",
            "WITH locked AS (SELECT id FROM calls WHERE organization_id = $1 FOR UPDATE) "
            "DELETE FROM calls USING locked WHERE calls.id = locked.id",
        ):
            async with changing(connection, acme.id):
                assert await connection.execute(statement, neighbour.id) in ("UPDATE 0", "DELETE 0")
        for statement in (
            "INSERT INTO deleted_calls (organization_id, call_id) VALUES ($1, $1)",
            "INSERT INTO audit_log (organization_id, actor, action, subject) VALUES ($1, 'x', 'y', 'z')",
            "INSERT INTO daily_call_deltas (organization_id, livemode, day, direction, phone_number_id, "
            "status, calls, answered, duration_seconds, cost_cents, latency_ms, latency_calls) "
            "VALUES ($1, true, now(), 'inbound', $1, 'busy', 1, 0, 0, 0, 0, 0)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                async with changing(connection, acme.id):
                    await connection.execute(statement, neighbour.id)
    assert [tuple(row) for row in await database.fetch("SELECT * FROM calls ORDER BY id")] == before


@pytest.mark.one_postgres("Citus refuses each change of the organization of a row")
async def test_a_row_cannot_be_given_to_another_organization(
    api_database: Database, tenants: tuple[Tenant, Tenant]
) -> None:
    acme, neighbour = tenants
    async with api_database.connection() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with changing(connection, acme.id):
                await connection.execute("UPDATE calls SET organization_id = $1", neighbour.id)


async def test_the_api_without_its_where_answers_only_for_who_asks(
    database_url: str, tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mistake that the policies guard against: each statement loses its condition on the organization."""
    acme, neighbour = tenants
    for asked in (
        sums.parts_statement(Filters(acme.id, True), "month", None, sums.DISTRIBUTIONS),
        sums.parts_statement(Filters(acme.id, True), "day", None, []),
        pages.PAGE_WITH_TOTAL["desc", False],
    ):
        named = "organization_id = :organization_id AND"
        forgetful = Statement(asked.sql.replace(named, ":organization_id::uuid IS NOT NULL AND"))
        assert forgetful.sql != asked.sql
        monkeypatch.setattr(asked, "numbered", forgetful.numbered)
        assert forgetful.parameters == asked.parameters
    async with serving(database_url) as api:
        for tenant, total in ((acme, 2), (neighbour, 3), (acme, 2)):
            page = await get(api, tenant, "/calls")
            assert page["total"] == total
            assert [call["organization_id"] for call in page["data"]] == [str(tenant.id)] * total
            assert (await get(api, tenant, "/calls", action="stats"))["total"] == total
            days = (await get(api, tenant, "/calls", action="trends"))["data"]
            assert sum(day["total"] for day in days) == total
    async with serving(database_url, role=OWNER) as unwalled:
        assert (await get(unwalled, acme, "/calls", action="stats"))["total"] == 5, "or this proves nothing"


async def test_deletes_and_details_behind_the_walls(
    database_url: str, database: Connection, tenants: tuple[Tenant, Tenant]
) -> None:
    acme, neighbour = tenants
    call_id = await seed.call(database, acme)
    async with serving(database_url) as api:
        for answer in (
            await api.get(f"/calls/{call_id}", headers=bearing(neighbour.key)),
            await api.delete(f"/calls/{call_id}", headers=bearing(neighbour.key)),
        ):
            assert answer.status_code == 404
        assert (await api.delete(f"/calls/{call_id}", headers=bearing(acme.key))).status_code == 204
    assert not await seed.recount(database)


@pytest.mark.parametrize(("role", "walled"), [(roles.API, True), (roles.OPERATOR, False), (OWNER, False)])
async def test_the_api_says_when_it_stands_before_the_walls(
    database_url: str, caplog: pytest.LogCaptureFixture, role: str, walled: bool
) -> None:
    async with serving(database_url, role=role) as api:
        for _ in range(2):
            assert (await api.get("/health/ready")).status_code == 200
    said = [record for record in caplog.records if "row-level security does not apply" in record.message]
    assert len(said) == (0 if walled else 1)
