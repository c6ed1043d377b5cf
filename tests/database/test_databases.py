"""The tests' databases on a server that other runs also use: each run drops what it and dead runs made."""

import secrets
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.ops.embedded.servers import Servers
from shared.database.connection import Connection
from tests.support.databases import PREFIX, Given, databases_at


@pytest.fixture
async def server(running: Servers) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(running.database_url("postgres"))
    yield connection
    await connection.close()


async def names(server: Connection) -> set[str]:
    return {row[0] for row in await server.fetch("SELECT datname::text FROM pg_database")}


async def test_a_run_drops_its_own_databases(running: Servers, server: Connection) -> None:
    before = await names(server)
    async with databases_at(running.database_url("")) as databases, databases.migrated() as url:
        there = await asyncpg.connect(url)
        assert await there.fetchval("SELECT count(*) FROM calls") == 0
        await there.close()
        created = await names(server) - before
        assert len(created) == 2, "the template and its copy"
        assert all(name.startswith(databases.run) for name in created)
    assert await names(server) == before


async def test_a_run_drops_databases_of_dead_runs_and_no_others(running: Servers, server: Connection) -> None:
    dead = f"{PREFIX}_{secrets.token_hex(4)}"
    leftovers = {f"{dead}_template", f"{dead}_{uuid.uuid4().hex}"}
    theirs = f"{PREFIX}_of_somebody_{secrets.token_hex(4)}"
    for name in (*leftovers, theirs):
        await server.execute(f"CREATE DATABASE {name}")
    async with (
        databases_at(running.database_url("")) as living,
        living.empty() as of_living,
        databases_at(running.database_url("")),
    ):
        there = await names(server)
        assert not leftovers & there
        assert {of_living.rpartition("/")[2], theirs} <= there
    await server.execute(f"DROP DATABASE {theirs}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres@127.0.0.1:1/callfold",
        "postgresql://callfold@127.0.0.1:1",
        "postgresql://postgres:secret@127.0.0.1:1",
        "127.0.0.1:1",
    ],
)
async def test_another_form_of_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not of the form postgresql://postgres@host:5432"):
        await Given.at(url)


async def test_a_server_says_what_it_is(running: Servers) -> None:
    given = await Given.at(running.database_url(""))
    assert not given.has_citus
    assert given.url == running.database_url("")
    assert str(given).startswith("PostgreSQL 18")
    assert str(given).endswith(f"at 127.0.0.1:{running.postgres_port}")
