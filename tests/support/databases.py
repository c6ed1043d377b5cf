"""The databases of tests: copies of a migrated one, on the embedded server or on that of `--postgres URL`."""

import asyncio
import re
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

import asyncpg

from shared.database.connection import Connection
from shared.migrations.distribute import distribute
from shared.migrations.give_roles import give_roles
from shared.migrations.upgrade import upgrade
from tests.support.roles import OWNER

PREFIX: Final = "callfold_test"
_OURS: Final = re.compile(rf"({PREFIX}_[0-9a-f]{{8}})_(template|[0-9a-f]{{32}})")


@dataclass(frozen=True)
class Given:
    """The server that `--postgres` names."""

    url: str
    """It ends where the name of a database follows."""
    version: str
    has_citus: bool

    @classmethod
    async def at(cls, url: str) -> Self:
        """Asks the server. Raises ValueError if the URL has another form, and the errors of connecting."""
        parts = urlsplit(url)
        if (
            parts.scheme not in ("postgresql", "postgres")
            or parts.username != OWNER
            or parts.password is not None
            or parts.hostname is None
            or parts.path.strip("/") not in ("", "postgres")
            or parts.query
        ):
            raise ValueError(f"{url} is not of the form postgresql://{OWNER}@host:5432")
        server = f"postgresql://{parts.netloc}/"
        connection = await asyncpg.connect(f"{server}postgres")
        try:
            version = await connection.fetchval("SHOW server_version")
            libraries = await connection.fetchval("SHOW shared_preload_libraries")
        finally:
            await connection.close()
        return cls(server, version, "citus" in re.split(r"[\s,\"]+", libraries))

    def __str__(self) -> str:
        tables = ", tables distributed by Citus" if self.has_citus else ""
        return f"PostgreSQL {self.version} at {urlsplit(self.url).netloc.rpartition('@')[2]}{tables}"


class Databases:
    """The databases that one process of the tests creates on a server. No other process uses their names."""

    def __init__(self, server_url: str, *, prefix: str = "test", distributed: bool = False) -> None:
        """The URL ends where the name of a database follows. `distributed` needs Citus on this server."""
        self._server_url = server_url
        self._distributed = distributed
        self.run: Final = f"{prefix}_{secrets.token_hex(4)}"
        self._template: str | None = None

    def url(self, name: str) -> str:
        """The URL of a database of this server, whether it exists or not, as its owner."""
        return f"{self._server_url}{name}"

    @asynccontextmanager
    async def migrated(self) -> AsyncIterator[str]:
        """The URL of a database that exists during the block, with its tables and the services' roles."""
        if self._template is None:
            self._template = await self._make_template()
        async with self._existing(f"TEMPLATE {self._template} STRATEGY file_copy") as url:
            yield url

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """The URL of a database without tables that exists during the block."""
        async with self._existing() as url:
            yield url

    async def drop_template(self) -> None:
        if self._template is not None:
            async with self._administration() as server:
                await server.execute(f"DROP DATABASE {self._template}")

    @asynccontextmanager
    async def _existing(self, options: str = "") -> AsyncIterator[str]:
        name = f"{self.run}_{uuid.uuid4().hex}"
        async with self._administration() as server:
            await server.execute(f"CREATE DATABASE {name} {options}")
            for setting in await server.fetch(_SETTINGS, self._template) if options else ():
                await server.execute(f"ALTER DATABASE {name} SET {setting[0]}")
        try:
            yield self.url(name)
        finally:
            async with self._administration() as server:
                if self._distributed:
                    await _end_sessions(server, name)
                await server.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _make_template(self) -> str:
        name = f"{self.run}_template"
        async with self._administration() as server:
            await server.execute(f"CREATE DATABASE {name}")
        await asyncio.to_thread(upgrade, self.url(name))
        if self._distributed:
            await self._make_servers(name)
            await distribute(self.url(name))
        await give_roles(self.url(name))
        async with self._administration() as server:
            await _end_sessions(server, name)  # a copy needs a database without sessions
        return name

    async def _make_servers(self, name: str) -> None:
        """Makes the server coordinator and worker at once: all shards are in the database, for copies."""
        parts = urlsplit(self._server_url)
        connection = await asyncpg.connect(self.url(name))
        try:
            await connection.execute("CREATE EXTENSION citus")
            address = (parts.hostname, parts.port or 5432)
            await connection.execute("SELECT citus_set_coordinator_host($1, $2)", *address)
            await connection.execute(
                "SELECT citus_set_node_property($1, $2, 'shouldhaveshards', true)", *address
            )
        finally:
            await connection.close()

    @asynccontextmanager
    async def _administration(self) -> AsyncIterator[Connection]:
        """A connection to the database `postgres`, to create databases. Each use opens a new one: a test may
        have killed the server in between."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def databases_at(server_url: str, *, distributed: bool = False) -> AsyncIterator[Databases]:
    """Databases on a server that other runs also use, now or later.

    A session holds a lock during the block. It first drops what runs without their lock left behind."""
    databases = Databases(server_url, prefix=PREFIX, distributed=distributed)
    keeper = await asyncpg.connect(databases.url("postgres"))
    try:
        await keeper.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", databases.run)
        await _drop_leftovers(keeper)
        try:
            yield databases
        finally:
            await databases.drop_template()
    finally:
        await keeper.close()


async def _drop_leftovers(keeper: Connection) -> None:
    names = [row[0] for row in await keeper.fetch("SELECT datname::text FROM pg_database")]
    for name in names:
        ours = _OURS.fullmatch(name)
        if ours is None or not await keeper.fetchval(_TRY_LOCK, ours[1]):
            continue
        await keeper.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await keeper.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", ours[1])


_TRY_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"

_SETTINGS: Final = """
SELECT unnest(setconfig) FROM pg_db_role_setting
JOIN pg_database ON pg_database.oid = setdatabase
WHERE datname = $1 AND setrole = 0
"""


async def _end_sessions(server: Connection, name: str) -> None:
    """Ends the sessions of a database, and lets none begin. Citus connects to each database that it knows, at
    any moment: PostgreSQL waits five seconds for such a session and then does not drop the database."""
    await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await server.execute(_END_SESSIONS, name)


_END_SESSIONS: Final = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1"
