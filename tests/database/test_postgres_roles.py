"""The roles of shared/database/roles.py: created by `callfold migrate --roles` or by hand, beside others, and
sufficient for each service."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from services.ops.embedded.servers import postgres_server
from services.ops.embedded.state import free_ports
from shared.database import roles
from shared.database.connection import Connection
from shared.migrations.give_roles import give_roles, missing
from shared.migrations.upgrade import upgrade
from tests.support import seed
from tests.support.api import bearing, get, serving
from tests.support.command_line import callfold
from tests.support.databases import Databases
from tests.support.ingesting import call
from tests.support.pipeline import Pipeline
from tests.support.processes import Service, until
from tests.support.repository import ROOT
from tests.support.roles import as_role

PAGE = ROOT / "docs" / "reference" / "roles-and-rights.md"
PASSWORD = "it's %41 a p@ssword"

MAY = """
SELECT table_name, string_agg(privilege, ', ' ORDER BY n)
FROM unnest($2::text[]) AS table_name,
    unnest('{SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER}'::text[])
        WITH ORDINALITY AS of (privilege, n)
WHERE has_table_privilege($1, table_name, privilege)
GROUP BY table_name
"""


async def test_the_api_may_do_exactly_this(database: Connection) -> None:
    assert dict(map(tuple, await database.fetch(MAY, roles.API, roles.all_tables()))) == {
        "alembic_version": "SELECT",
        "calls": "SELECT, UPDATE, DELETE",
        "call_events": "SELECT, DELETE",
        "count_days": "SELECT",
        "deleted_calls": "SELECT, INSERT",
        "daily_call_counts": "SELECT",
        "daily_call_totals": "SELECT",
        "pruned_call_counts": "SELECT",
        "daily_call_deltas": "SELECT, INSERT",
        "quarantined_records": "DELETE",
        "source_calls": "DELETE",
        "webhooks": "SELECT, INSERT, UPDATE, DELETE",
        "webhook_messages": "SELECT, INSERT, DELETE",
        "webhook_deliveries": "SELECT, INSERT, UPDATE",
        "audit_log": "INSERT",
    }
    functions = await database.fetch(
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
        "AND has_function_privilege($1, oid, 'EXECUTE')",
        roles.API,
    )
    assert {row[0] for row in functions} == {
        *("callfold_key", "callfold_member", "callfold_keys_used"),
        *("callfold_counts_state", "callfold_payload", "callfold_zone_rules"),
    }
    attributes = await database.fetchrow(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles "
        "WHERE rolname = $1",
        roles.API,
    )
    assert attributes is not None
    assert not any(attributes.values())


async def test_every_table_of_organizations_is_walled(database: Connection) -> None:
    """Tables without one are listed by name, so that a new table is not forgotten."""
    walled = await database.fetch(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'p') AND NOT relrowsecurity AND relname !~ '_[0-9]{6,}$'"  # a shard of Citus
    )
    assert {row[0] for row in walled} == {
        *("alembic_version", "call_changes", "partitions_read", "proofs", "publisher", "sources"),
    }
    assert not await database.fetch("SELECT FROM pg_class WHERE relforcerowsecurity"), "the owner migrates"


async def test_a_second_time_nothing_is_to_do(database: Connection) -> None:
    assert await missing(database) == {}


async def test_what_is_not_as_it_must_be_is_repaired_and_nothing_else(
    database_url: str, database: Connection
) -> None:
    await database.execute("GRANT UPDATE, TRUNCATE ON calls, members TO callfold_api")
    await database.execute("GRANT SELECT (key) ON quarantined_records TO callfold_api")
    await database.execute("REVOKE SELECT ON daily_call_counts FROM callfold_operator")
    await database.execute("ALTER POLICY callfold_own_rows ON calls USING (true)")
    await database.execute("DROP POLICY callfold_all_rows ON call_events")
    await database.execute("REVOKE EXECUTE ON FUNCTION callfold_key FROM callfold_api")
    await database.execute("ALTER TABLE deleted_calls DISABLE ROW LEVEL SECURITY")
    # A reader's role, created by an operator.
    await database.execute("CREATE POLICY of_reports ON daily_call_counts TO pg_monitor USING (true)")
    assert (await missing(database)).keys() == {
        *("calls", "members", "quarantined_records", "daily_call_counts", "call_events", "deleted_calls"),
        "callfold_key(bytea)",
    }

    await give_roles(database_url)

    assert await missing(database) == {}
    assert (
        await database.fetchval(
            "SELECT count(DISTINCT policyname) FROM pg_policies WHERE policyname = 'of_reports'"
        )
        == 1
    )


@pytest.mark.usefixtures("database_url")  # the template's migration has created the roles
async def test_the_page_has_the_statements_that_do_the_same_by_hand(databases: Databases) -> None:
    (page,) = re.findall("```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert page.strip() == roles.by_hand()
    async with databases.empty() as url:
        await asyncio.to_thread(upgrade, url)
        connection = await asyncpg.connect(url)
        await connection.execute(re.sub("CREATE ROLE .*", "", page))
        assert await missing(connection) == {}
        await connection.close()


@pytest.fixture
async def bare() -> AsyncIterator[str]:
    """The URL of a separate server, as postgres, without any roles. All other roles need a password."""
    with tempfile.TemporaryDirectory(prefix="callfold-roles-") as scratch:
        Path(scratch).chmod(0o755)
        (port,) = free_ports(1)
        server = postgres_server(Path(scratch) / "postgres", port, durable=False)
        (Path(scratch) / "postgres" / "pg_hba.conf").write_text(
            "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        await server.start()
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            server.stop()


@pytest.mark.processes
async def test_databases_of_one_server_get_their_roles_side_by_side(bare: str) -> None:
    server = await asyncpg.connect(bare)
    urls = [bare.removesuffix("postgres") + f"side_{n}" for n in range(4)]
    for url in urls:
        await server.execute(f"CREATE DATABASE {url.rpartition('/')[2]}")
        await asyncio.to_thread(upgrade, url)

    await asyncio.gather(*(give_roles(url, password=PASSWORD) for url in (*urls, *urls)))

    for url in urls:
        for role in roles.ROLES:
            one = await asyncpg.connect(url, user=role, password=PASSWORD)
            assert await one.fetchval("SELECT version_num FROM alembic_version")
            await one.close()
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(url, user=role, password="another")
    await server.close()


@pytest.mark.processes
async def test_the_command_says_what_it_did_and_what_it_lacks(bare: str) -> None:
    """Without the privilege to create roles, a sentence; with only that privilege, the policies also hold."""
    server = await asyncpg.connect(bare)
    await server.execute("CREATE ROLE owner LOGIN PASSWORD 'own'")
    await server.execute("CREATE DATABASE owned OWNER owner")
    place = {"database_url": bare.replace("postgres@", "owner:own@").removesuffix("postgres") + "owned"}

    refused = await callfold("migrate", "--roles", **place)
    assert refused.status == 1
    assert "permission denied to create role" in refused.failure
    assert "CREATEROLE" in refused.failure
    assert "\n" not in refused.failure

    await server.execute("ALTER ROLE owner CREATEROLE")
    for _ in range(2):
        done = await callfold("migrate", "--roles", **place, roles_password=PASSWORD)
        assert (done.status, done.output) == (0, "The database is up to date, and so are the roles.\n")
    database = await asyncpg.connect(place["database_url"])
    assert await missing(database) == {}
    await database.close()
    await server.close()


async def test_a_password_that_would_need_more_than_ascii_is_refused(database_url: str) -> None:
    refused = await callfold("migrate", "--roles", database_url=database_url, roles_password="pässwort")
    assert refused.status == 1
    assert "CALLFOLD_ROLES_PASSWORD must contain only printable ASCII characters" in refused.failure
    assert "pässwort" not in refused.failure


@pytest.fixture
def aggregator(database_url: str, tmp_path: Path) -> Iterator[Service]:
    """An aggregator with its own role."""
    url = as_role(database_url, roles.AGGREGATOR)
    service = Service("aggregator", tmp_path / "aggregator.log", database_url=url)
    yield service
    if service.running:
        service.kill()


async def test_the_api_waits_for_the_rights_of_its_role(database_url: str, database: Connection) -> None:
    await database.execute("REVOKE ALL ON alembic_version FROM callfold_api")
    async with serving(database_url) as api:
        answer = await api.get("/health/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
        await give_roles(database_url)
        assert (await api.get("/health/ready")).status_code == 200


# Ingest connects only for a moment, so the server itself watches for it.
CONNECTED = """
DO $$ BEGIN
    FOR milliseconds IN 1..40000 LOOP
        PERFORM pg_stat_clear_snapshot();
        IF EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{role}') THEN RETURN; END IF;
        PERFORM pg_sleep(0.001);
    END LOOP;
    RAISE 'ingest did not connect';
END $$
"""


async def test_ingest_waits_for_its_role_and_for_its_rights(
    pipeline: Pipeline, topic: str, database_url: str, database: Connection
) -> None:
    """As in compose, where it starts together with the service that creates the roles."""
    role = f"callfold_late_{topic.rpartition('-')[2]}"
    await pipeline.publish(call(0))
    ingest = pipeline.start(database_url=as_role(database_url, role))
    await until(lambda: ingest.said("waits for the database: Invalid"), "ingest to report it")
    await database.execute(f"CREATE ROLE {role} LOGIN BYPASSRLS")
    try:
        await database.execute(CONNECTED.format(role=role))
        await database.execute(f"GRANT callfold_ingest TO {role}")
        await pipeline.consumed()
        await pipeline.assert_exact(1)
        assert ingest.stop() == 0, "it never ended"
    finally:
        await database.execute(f"DROP ROLE {role}")


async def test_each_role_can_do_its_work(
    pipeline: Pipeline, aggregator: Service, database_url: str, database: Connection
) -> None:
    acme = await seed.tenant(database)
    ingest = pipeline.start(database_url=as_role(database_url, roles.INGEST))
    await pipeline.publish([*call(0)[:2], b"no event"])
    await pipeline.consumed()
    await pipeline.publish(call(0))
    await pipeline.consumed()
    await pipeline.assert_exact(1)
    assert await database.fetchval("SELECT count(*) FROM quarantined_records") == 1
    applied = "SELECT NOT EXISTS (SELECT 1 FROM daily_call_deltas)"
    await until(lambda: database.fetchval(applied), "the aggregator to apply the deltas")
    call_id = await seed.call(database, acme)
    async with serving(database_url) as api:
        assert (await api.get("/health/ready")).status_code == 200
        assert (await get(api, acme, "/calls"))["total"] == 1
        assert (await get(api, acme, f"/calls/{call_id}"))["id"] == str(call_id)
        assert (await api.delete(f"/calls/{call_id}", headers=bearing(acme.key))).status_code == 204
        assert (await get(api, acme, "/calls", action="stats"))["total"] == 0
    operator = {"database_url": as_role(database_url, roles.OPERATOR)}
    made = (await callfold("org", "create", "Other", "--json", **operator)).json
    created = (await callfold("key", "create", "--organization", made["id"], "--json", **operator)).json
    assert (await callfold("key", "revoke", created["key"], **operator)).status == 0
    for repair in (("refold",), ("rebuild",), ("reap",), ("prune",), ("quarantine", "redrive", "--all")):
        assert (await callfold(*repair, **operator)).status == 0, repair
    zone = ("org", "set-time-zone", made["id"], "Europe/Berlin")
    assert (await callfold(*zone, **operator)).status == 0
    assert (await callfold("quarantine", "discard", "--all", **operator)).status == 0
    assert (await callfold("verify", "--json", **operator)).json["exact"]
    assert [service.stop() for service in (ingest, aggregator)] == [0, 0]
