"""Databases on a real cluster of Citus. The tests are skipped unless `CALLFOLD_TEST_CITUS_URL` names one."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from shared.database.distributed import url_of
from shared.migrations.distribute import distribute
from shared.migrations.give_roles import give_roles
from shared.migrations.upgrade import upgrade

VARIABLE: Final = "CALLFOLD_TEST_CITUS_URL"


@dataclass
class Cluster:
    """A fresh database on each server of a cluster, not yet joined. `urls` begins with the coordinator's."""

    urls: Sequence[str]
    nodes: Sequence[tuple[str, int]]

    async def join(self) -> str:
        """Makes the extension on each server and adds the workers. Returns the coordinator's URL."""
        for url in self.urls:
            server = await asyncpg.connect(url)
            await server.execute("CREATE EXTENSION citus")
            await server.close()
        coordinator = await asyncpg.connect(self.urls[0])
        place, *workers = self.nodes
        await coordinator.execute("SELECT citus_set_coordinator_host($1, $2)", *place)
        for worker in workers:
            await coordinator.execute("SELECT citus_add_node($1, $2)", *worker)
        await coordinator.close()
        return self.urls[0]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Databases on the servers of the cluster that `CALLFOLD_TEST_CITUS_URL` names."""
    url = os.environ.get(VARIABLE)
    if url is None:
        pytest.skip(f"{VARIABLE} names no database with the extension citus")
    name = f"test_{uuid.uuid4().hex}"
    coordinator = await asyncpg.connect(url)
    found = await coordinator.fetch("SELECT nodename, nodeport FROM pg_dist_node ORDER BY groupid")
    await coordinator.close()
    nodes = [(host, port) for host, port in found]
    servers = [url_of(url, *node) for node in nodes]
    for each in servers:
        await _of_all_databases(each, f"CREATE DATABASE {name}")
    yield Cluster([_of_database(each, name) for each in servers], nodes)
    for each in servers:
        await _of_all_databases(each, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def citus_url(cluster: Cluster) -> str:
    """The URL of an empty database on the coordinator, with its workers."""
    return await cluster.join()


async def _of_all_databases(url: str, statement: str) -> None:
    """Executes a statement about a database on one server alone."""
    server = await asyncpg.connect(url)
    await server.execute("SET citus.enable_ddl_propagation = off")
    await server.execute("SET citus.enable_create_database_propagation = off")
    await server.execute(statement)
    await server.close()


def _of_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@pytest.fixture
async def database_url(citus_url: str) -> str:
    """The URL of a fresh distributed database with the services' roles."""
    await asyncio.to_thread(upgrade, citus_url)
    await distribute(citus_url)
    await give_roles(citus_url)
    return citus_url
