"""A worker's connection: opened when it is needed, and again after temporary faults."""

from collections.abc import AsyncIterator
from contextlib import closing

import asyncpg
import pytest

from shared.database.connection import Connection
from shared.database.faults import PASSING_TYPES, TablesOutdated
from shared.database.patient_connection import PatientConnection
from shared.database.schema_step import NEEDED_STEP
from shared.settings.database import DatabaseSettings, Pooler
from tests.support import seed


@pytest.fixture
async def patient(database_url: str) -> AsyncIterator[PatientConnection]:
    connection = PatientConnection(
        DatabaseSettings(database_url=database_url),
        application_name="patient",
        session={"lock_timeout": "7s"},
    )
    yield connection
    connection.close()


async def test_one_connection_serves_until_it_is_cut_and_then_another(
    patient: PatientConnection, database: Connection
) -> None:
    first = await patient.opened()
    assert await patient.opened() is first

    pid = first.get_server_pid()
    await database.execute("SELECT pg_terminate_backend($1::integer)", pid)
    with pytest.raises(PASSING_TYPES) as cut:
        await first.execute("SELECT 1")
    assert isinstance(cut.value, Exception)
    assert patient.failed(cut.value)
    assert not patient.is_open

    second = await patient.opened()
    assert second.get_server_pid() != pid
    assert await second.fetchval("SHOW lock_timeout") == "7s"


async def test_tables_that_are_behind_are_waited_for(
    patient: PatientConnection, database: Connection
) -> None:
    await database.execute("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(TablesOutdated) as outdated:
        await patient.opened()
    assert not patient.is_open
    assert "run `callfold migrate`" in patient.failed(outdated.value)

    await database.execute("UPDATE alembic_version SET version_num = $1", NEEDED_STEP)
    assert await (await patient.opened()).fetchval("SELECT 1") == 1


async def test_a_fault_that_does_not_pass_is_raised(patient: PatientConnection) -> None:
    connection = await patient.opened()
    with pytest.raises(asyncpg.PostgresSyntaxError) as mistake:
        await connection.execute("SELEKT 1")

    with pytest.raises(asyncpg.PostgresSyntaxError):
        patient.failed(mistake.value)

    assert not patient.is_open


async def test_what_is_done_once_is_done_with_each_connection_until_it_succeeds(database_url: str) -> None:
    results = [False, True, True]
    seen: list[Connection] = []

    async def once(connection: Connection) -> bool:
        seen.append(connection)
        return results[len(seen) - 1]

    patient = PatientConnection(
        DatabaseSettings(database_url=database_url), application_name="patient", session={}, once=once
    )
    for _ in range(3):
        await patient.opened()
        patient.close()

    assert len(seen) == 2


@pytest.mark.one_postgres("its own tables stand for those of Citus")
@pytest.mark.parametrize(
    ("distributed", "mode"),
    [(None, "force_generic_plan"), ("audit_log", "force_generic_plan"), ("calls", "auto")],
)
@pytest.mark.parametrize("pooler", ["none", "transaction"])
async def test_a_distributed_database_plans_with_values(
    database_url: str, database: Connection, distributed: str | None, mode: str, pooler: Pooler
) -> None:
    if distributed is not None:
        await seed.distributed(database, distributed)
    settings = DatabaseSettings(database_url=database_url, database_pooler=pooler)
    session = {"plan_cache_mode": "force_generic_plan", "lock_timeout": "7s"}
    patient = PatientConnection(settings, application_name="patient", session=session)
    with closing(patient):
        connection = await patient.opened()
        assert await connection.fetchval("SHOW plan_cache_mode") == mode
        assert await connection.fetchval("SHOW lock_timeout") == "7s"
