"""Databases on a real cluster of Citus. The tests are skipped unless `CALLFOLD_TEST_CITUS_URL` names one."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from shared.database.distributed import url_of
from shared.migrations.distribute import distribute
from shared.migrations.give_roles import give_roles
from shared.migrations.upgrade import upgrade

VARIABLE: Final = "CALLFOLD_TEST_CITUS_URL"


@pytest.fixture
async def citus_url() -> AsyncIterator[str]:
    """The URL of a fresh, empty database on the coordinator, with the workers of the one that
    `CALLFOLD_TEST_CITUS_URL` names."""
    url = os.environ.get(VARIABLE)
    if url is None:
        pytest.skip(f"{VARIABLE} names no database with the extension citus")
    name = f"test_{uuid.uuid4().hex}"
    coordinator = await asyncpg.connect(url)
    try:
        nodes = await coordinator.fetch("SELECT nodename, nodeport FROM pg_dist_node ORDER BY groupid")
        urls = [url_of(url, host, port) for host, port in nodes]
        await _create(urls, name)
        created = await asyncpg.connect(_of_database(urls[0], name))
        (host, port), *workers = nodes
        await created.execute("SELECT citus_set_coordinator_host($1, $2)", host, port)
        for host, port in workers:
            await created.execute("SELECT citus_add_node($1, $2)", host, port)
        await created.close()
        yield _of_database(urls[0], name)
    finally:
        await coordinator.close()
    for each in urls:
        server = await asyncpg.connect(each)
        await server.execute("SET citus.enable_ddl_propagation = off")
        await server.execute("SET citus.enable_create_database_propagation = off")
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


async def _create(urls: Sequence[str], name: str) -> None:
    for each in urls:
        server = await asyncpg.connect(each)
        await server.execute("SET citus.enable_ddl_propagation = off")
        await server.execute("SET citus.enable_create_database_propagation = off")
        await server.execute(f"CREATE DATABASE {name}")
        await server.close()
        created = await asyncpg.connect(_of_database(each, name))
        await created.execute("CREATE EXTENSION citus")
        await created.close()


def _of_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@pytest.fixture
async def database_url(citus_url: str) -> str:
    """The URL of a fresh distributed database with the services' roles."""
    await asyncio.to_thread(upgrade, citus_url)
    await distribute(citus_url)
    await give_roles(citus_url)
    return citus_url
