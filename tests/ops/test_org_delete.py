"""An organization is deleted with all its data. Every snapshot is exact, and no event brings it back."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.aggregator.prune import prune
from services.ops.commands import org_delete
from services.ops.commands.org_delete import Deleted, delete_organization, rows_left
from services.ops.embedded.state import free_ports
from services.ops.proof.proof import prove, prove_connection
from shared.database import roles
from shared.database.connection import Connection
from shared.store.batch import Overtaken, write
from shared.store.delete import delete
from shared.store.quarantine import BadRecord, write_quarantine
from tests.support import seed
from tests.support.api import bearing, serving
from tests.support.applying import apply_deltas
from tests.support.command_line import callfold
from tests.support.events import NOON, event, value
from tests.support.ingesting import call, keyed
from tests.support.monitoring import Monitor
from tests.support.pipeline import Pipeline
from tests.support.processes import publish, until
from tests.support.roles import as_role
from tests.support.storing import prepared, record, stored, waits_for_a_lock


@pytest.fixture
async def acme(database: Connection) -> seed.Tenant:
    """An organization with rows in every table: some counts applied, some waiting, some pruned."""
    acme = await seed.tenant(database, "Europe/Berlin")
    await fill(database, acme)
    return acme


@pytest.fixture
async def other(database: Connection) -> seed.Tenant:
    other = await seed.tenant(database)
    await fill(database, other)
    return other


async def fill(database: Connection, tenant: seed.Tenant) -> None:
    await database.execute("UPDATE organizations SET retention_days = 100 WHERE id = $1", tenant.id)
    for day in range(1, 8):
        at = f"2026-11-{day:02}T00:10:00Z"
        await seed.call(database, tenant, at, duration=60, cost="1.5", applied=day < 4, livemode=day != 5)
    gone = await seed.call(database, tenant)
    await delete(database, tenant.id, gone, livemode=True, actor="test")
    await seed.call(database, tenant, "2026-01-01T10:00:00Z", cost="2")
    assert await prune(database, NOON, organization_id=tenant.id) == 1
    await database.execute("INSERT INTO members VALUES ($1, gen_random_uuid())", tenant.id)
    await database.execute("INSERT INTO silent_calls VALUES ($1, gen_random_uuid(), 1, now())", tenant.id)
    await seed.webhook(database, tenant.id)
    bad = value("call.updated", organization_id=tenant.id, timestamp="soon")
    await write_quarantine(
        database, [BadRecord(record(bad, offset=tenant.id.int % 10**9), "not an event")], NOON
    )


def options(database_url: str) -> dict[str, str]:
    return {"database_url": as_role(database_url, roles.OPERATOR)}


async def snapshot(database: Connection, organization_id: UUID) -> list[Any]:
    """All rows of an organization, except those that change by themselves."""
    tables = (
        *("organizations", "api_keys", "members", "calls", "call_events", "pruned_call_counts"),
        *("webhooks", "webhook_messages", "webhook_deliveries"),
    )
    owner = {"organizations": "id"}
    return [
        await database.fetch(
            f"SELECT * FROM {table} WHERE {owner.get(table, 'organization_id')} = $1 ORDER BY 1, 2",  # noqa: S608
            organization_id,
        )
        for table in tables
    ]


async def test_nothing_is_left_but_a_tombstone_and_the_audit_log(
    database: Connection, database_url: str, acme: seed.Tenant, other: seed.Tenant
) -> None:
    before = await snapshot(database, other.id)
    told = await callfold("org", "delete", acme.id, "--yes", "--json", **options(database_url))
    assert told.failure == ""
    assert (told.status, told.json["left"], told.json["name"]) == (0, {}, "Acme")
    of_counts = dict.fromkeys(("daily_call_counts", "daily_call_totals", "count_days", "count_versions"), 0)
    assert told.json["removed"] | of_counts == {
        "api_keys": 2,
        "members": 1,
        "calls": 7,
        "call_events": 21,
        "pruned_call_counts": 1,
        **of_counts,
        "silent_calls": 1,
        "deleted_calls": 1,
        "quarantined_records": 1,
        "organizations": 1,
        "webhooks": 1,
        "webhook_messages": 1,
        "webhook_deliveries": 1,
    }
    assert await rows_left(database, acme.id) == {}
    log = await database.fetch(
        "SELECT action, details FROM audit_log WHERE organization_id = $1 ORDER BY at", acme.id
    )
    assert [row["action"] for row in log] == [
        "call deleted",
        "organization deletion begun",
        "organization deleted",
    ]
    assert "calls 7, call_events 21" in log[-1]["details"]
    assert (
        await database.fetchval("SELECT count(*) FROM deleted_calls WHERE organization_id = $1", acme.id) == 1
    )
    assert await snapshot(database, other.id) == before
    proof = await prove(database_url)
    assert (proof.exact, proof.calls) == (True, 7)


async def test_it_can_be_repeated_and_the_id_is_not_reused(
    database: Connection, database_url: str, acme: seed.Tenant
) -> None:
    where = options(database_url)
    assert (await callfold("org", "delete", acme.id, "--yes", **where)).status == 0
    again = await callfold("org", "delete", acme.id, "--yes", **where)
    assert (again.status, again.output.splitlines()[-1]) == (
        0,
        f"DELETED: no table has a row of organization {acme.id}.",
    )
    created = await callfold("org", "create", "Acme", "--id", acme.id, **where)
    assert created.failure == f"Organization {acme.id} was deleted. Its id cannot be used again."


async def test_without_confirmation_nothing_is_deleted(
    database: Connection, database_url: str, acme: seed.Tenant
) -> None:
    told = await callfold("org", "delete", acme.id, **options(database_url))
    assert told.failure == "This deletion is permanent: confirm it with --yes, or run it in a terminal."
    nobody = UUID(int=7)
    missing = await callfold("org", "delete", nobody, "--yes", **options(database_url))
    assert missing.failure.startswith(f"There is no organization {nobody}. ")
    assert await database.fetchval("SELECT count(*) FROM calls WHERE organization_id = $1", acme.id) == 7


class Interrupted(Exception):
    """The process is killed here."""


async def test_after_any_interruption_every_snapshot_is_exact_and_a_second_run_finishes(
    database: Connection,
    rival: Connection,
    database_url: str,
    acme: seed.Tenant,
    other: seed.Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another connection proves everything after each transaction. The run is interrupted at each of them."""
    monkeypatch.setattr(org_delete, "CHUNK_CALLS", 3)
    monkeypatch.setattr(org_delete, "CHUNK_ROWS", 4)
    steps = 0

    async def run(stop_at: int | None) -> None:
        nonlocal steps
        steps = 0

        async def look(_: object) -> None:
            nonlocal steps
            steps += 1
            assert (await prove_connection(rival)).exact, f"after step {steps}"
            if steps == stop_at:
                raise Interrupted

        connection = await asyncpg.connect(database_url)
        watched = Watched(connection, look)
        try:
            done = Deleted(acme.id, "Acme")
            await delete_organization(watched, done, lambda _n, _at: None, actor="test")  # type: ignore[arg-type]
        finally:
            await connection.close()

    stop_at = 1
    while True:
        try:
            await run(stop_at)
        except Interrupted:
            stop_at += 3
            continue
        break
    assert stop_at > 6
    assert await rows_left(database, acme.id) == {}
    assert (await prove(database_url)).calls == 7


class Watched:
    """A connection that calls `look` after each transaction, and after each statement outside a
    transaction."""

    def __init__(self, connection: Connection, look: Any) -> None:
        self._connection = connection
        self._look = look

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if name not in ("execute", "fetch", "fetchval", "fetchrow"):
            return found

        async def asked(*arguments: Any, **options: Any) -> Any:
            answer = await found(*arguments, **options)
            if not self._connection.is_in_transaction():
                await self._look(name)
            return answer

        return asked


async def test_late_events_do_not_bring_it_back(
    pipeline: Pipeline, bootstrap: str, topic: str, database: Connection, database_url: str, acme: seed.Tenant
) -> None:
    """Its events are dropped and counted, whether unknown organizations are created or quarantined."""
    assert (await callfold("org", "delete", acme.id, "--yes", **options(database_url))).status == 0
    for unknown in ("create", "quarantine"):
        (port,) = free_ports(1)
        monitor = Monitor(port)
        ingest = pipeline.start(
            unknown_organizations=unknown, monitor_port=str(port), consumer_group=f"test-{topic}"
        )
        await publish(
            bootstrap, topic, keyed([e for n in range(5) for e in call(n, organization_id=acme.id)])
        )
        await pipeline.consumed()
        assert await monitor.value("callfold_ingest_records_total", outcome="deleted") == 20
        assert await rows_left(database, acme.id) == {}
        assert ingest.stop() == 0


async def test_ingest_that_read_before_the_deletion_retries(
    database: Connection, rival: Connection, acme: seed.Tenant
) -> None:
    """With a new call, and with one that still exists: the data that ingest read is outdated."""
    known = await database.fetchval("SELECT id FROM calls WHERE organization_id = $1 LIMIT 1", acme.id)
    late = [
        event("call.updated", id="late", organization_id=acme.id, call_id=call_id, timestamp=NOON)
        for call_id in (UUID(int=77), known)
    ]
    batches = [await prepared(rival, one) for one in late]
    await org_delete._close(database, Deleted(acme.id, "Acme"), "test")
    for batch in batches:
        with pytest.raises(Overtaken, match="an organization was deleted meanwhile"):
            await write(rival, batch, [])
    assert len((await stored(rival, *late)).of_deleted_calls) == 2


async def test_the_deletion_waits_for_what_ingest_is_writing(
    database: Connection, rival: Connection, acme: seed.Tenant
) -> None:
    late = event("call.updated", organization_id=acme.id, call_id=UUID(int=77), timestamp=NOON)
    batch = await prepared(rival, late)
    writing = rival.transaction()
    await writing.start()
    await write(rival, batch, [])
    done = Deleted(acme.id, "Acme")
    deleting = asyncio.create_task(delete_organization(database, done, lambda _n, _at: None, actor="test"))
    await until(lambda: waits_for_a_lock(rival), "the deletion to wait")
    await writing.commit()
    await deleting
    assert done.removed["calls"] == 8
    assert await rows_left(database, acme.id) == {}


async def test_its_keys_stop_working_and_other_keys_still_work(
    database: Connection, database_url: str, acme: seed.Tenant, other: seed.Tenant
) -> None:
    async with serving(database_url) as api:
        assert (await api.get("/calls", headers=bearing(acme.key))).status_code == 200
        assert (await callfold("org", "delete", acme.id, "--yes", **options(database_url))).status == 0
        assert (await api.get("/calls", headers=bearing(acme.key))).status_code == 401
        assert (await api.get("/calls", headers=bearing(other.key))).json()["total"] == 6


async def test_the_deletion_waits_for_an_aggregator_that_holds_its_deltas(
    database: Connection, rival: Connection, database_url: str, acme: seed.Tenant
) -> None:
    async def calls_are_gone() -> bool:
        of_acme = "SELECT EXISTS (SELECT 1 FROM calls WHERE organization_id = $1)"
        return not await database.fetchval(of_acme, acme.id)

    held = rival.transaction()
    await held.start()
    assert await apply_deltas(rival, 2) == 2
    deleting = asyncio.create_task(callfold("org", "delete", acme.id, "--yes", **options(database_url)))
    await until(calls_are_gone, "the calls to be deleted")
    await held.commit()
    assert (await deleting).status == 0
    assert await rows_left(database, acme.id) == {}
    assert (await prove(database_url)).exact
