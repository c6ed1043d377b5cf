"""Distributes the tables over the servers of Citus, by organization."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from shared.database import roles
from shared.database.connection import Connection, connect
from shared.database.distributed import is_distributed, servers
from shared.migrations.alone import alone
from shared.migrations.functions_on_shards import FUNCTIONS
from shared.migrations.on_server import CannotDistribute, on_server
from shared.migrations.outbox_on_servers import (
    complete_outbox,
    shards_without_triggers,
    statements_of_outbox,
)
from shared.migrations.places import BY_ORGANIZATION, ON_EACH_SERVER, ON_ONE_SERVER
from shared.migrations.rights_on_servers import give_rights_on_servers
from shared.migrations.upgrade import TablesBusy
from shared.settings.database import Pooler

OLDEST_CITUS: Final = (13, 2)
"""The oldest version that was tested. Before 13.1, Citus refuses rights on single columns."""
SETTINGS: Final[Mapping[str, str]] = {
    # SET LOCAL reaches the servers: without it, row-level security hides every row.
    "citus.propagate_set_commands": "local",
    # One connection per server, and so one snapshot.
    "citus.multi_shard_modify_mode": "sequential",
    # Otherwise each look into the catalog checks every table for being a shard.
    "citus.override_table_visibility": "off",
}
"""Settings of the database, for all sessions on all servers."""
SHARDS_PER_SERVER: Final = 2
"""Each statement over several organizations pays per shard. Shards can be split later."""
COPY_SECONDS: Final = 7 * 24 * 3600
"""The limit of a statement that copies a table."""
LOCK_TIMEOUT: Final = "10s"
"""How long the distribution waits for sessions that it has disconnected."""


async def check_server(database_url: str, pooler: Pooler = "none", *, distributes: bool) -> None:
    """Raises `CannotDistribute` if tables must not be made on this server, or if it `distributes` and cannot.
    Call it before the steps. Raises asyncpg's errors."""
    connection = await connect(database_url, application_name="callfold-migrate", pooler=pooler)
    try:
        version = await connection.fetchval(_CITUS_VERSION)
        if version and not await connection.fetchval(_IS_COORDINATOR):
            raise CannotDistribute("This server is a worker of Citus; connect to the coordinator")
        if not distributes:
            return
        if not version:
            raise CannotDistribute(
                "The database does not have the extension citus; create it in this database of each server"
            )
        check_version(version)
        if not await connection.fetchval(_SERVERS_FOR_SHARDS):
            raise CannotDistribute("Citus has no server for shards; add one with citus_add_node")
        if not await is_distributed(connection) and not await connection.fetchval(_MAY_DISCONNECT):
            raise CannotDistribute(
                "The connected user cannot disconnect the services; grant it pg_read_all_stats and "
                "pg_signal_backend, or connect as a superuser"
            )
    finally:
        await connection.close(timeout=5)


def check_version(version: str) -> None:
    """Raises `CannotDistribute` for a version of the extension, such as 13.0-1, that is too old."""
    major, minor = (int(part) for part in version.partition("-")[0].split("."))
    if (major, minor) < OLDEST_CITUS:
        oldest = ".".join(map(str, OLDEST_CITUS))
        raise CannotDistribute(f"The extension citus has version {version}; callfold needs {oldest} or newer")


async def distribute(database_url: str, pooler: Pooler = "none") -> None:
    """Distributes the tables with their rows, in one transaction. Disconnects all other sessions: until it
    commits, they cannot read or write, and then they find distributed tables.

    Running it again is harmless. Raises `CannotDistribute`, `TablesBusy` and asyncpg's errors."""
    await check_server(database_url, pooler, distributes=True)
    async with _migrating(database_url, pooler) as connection:
        if not await is_distributed(connection):
            await _distribute(connection, database_url)
        await _place(connection, database_url)
        for table in _statements():
            await connection.execute(_REMOVE_COPIES, table)


async def place_tables(database_url: str, pooler: Pooler = "none") -> bool:
    """Completes a distributed database: tables, functions and rights of later steps, and the outbox on
    servers added since. Does nothing to others. Returns whether the database is distributed.

    Raises `CannotDistribute` and asyncpg's errors."""
    async with _migrating(database_url, pooler) as connection:
        if not await is_distributed(connection):
            return False
        await _place(connection, database_url)
        return True


@asynccontextmanager
async def _migrating(database_url: str, pooler: Pooler) -> AsyncIterator[Connection]:
    async with alone(database_url, pooler):
        connection = await connect(
            database_url,
            application_name="callfold-migrate",
            pooler=pooler,
            command_timeout_seconds=COPY_SECONDS,
        )
        try:
            yield connection
        finally:
            await connection.close(timeout=5)


async def _distribute(connection: Connection, database_url: str) -> None:
    """Distributes the tables of a database on one PostgreSQL."""
    shards = SHARDS_PER_SERVER * await connection.fetchval(_SERVERS_FOR_SHARDS)
    await _set_settings(connection)
    await _complete_servers(connection, database_url)
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(_LIMITS)
            # A service that connects now waits here, where it reads the step of the tables.
            await connection.execute("LOCK TABLE alembic_version")
            await _disconnect_others(connection)
            for table in roles.all_tables():
                await connection.execute(f"LOCK TABLE {table}")
            for function in FUNCTIONS.values():
                await connection.execute(function)
            await _place_tables(connection, shards)
            # These waited for the locks, with the settings of one PostgreSQL.
            await _disconnect_others(connection)
        await _disconnect_others(connection)
    except asyncpg.LockNotAvailableError:
        raise TablesBusy(
            "The tables are in use, and a lock for their distribution was not available"
        ) from None
    except asyncpg.DuplicateTableError as error:
        raise CannotDistribute(
            f"A worker already has a table of callfold ({error.message}); drop such tables there"
        ) from None


async def _disconnect_others(connection: Connection) -> None:
    try:
        await connection.fetch(_DISCONNECT)
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotDistribute(
            f"The connected user cannot disconnect the services ({error.message})"
        ) from None


async def _place(connection: Connection, database_url: str) -> None:
    """Completes a distributed database."""
    await _set_settings(connection)
    await _complete_servers(connection, database_url)
    for name, statement in FUNCTIONS.items():
        body = await connection.fetchval(_BODY, name)
        if body is None or body not in statement:
            await connection.execute(statement)
    shards = await connection.fetchval(_SHARDS, BY_ORGANIZATION[0])
    async with connection.transaction(isolation="read_committed"):
        await _place_tables(connection, shards)
    await give_rights_on_servers(connection, database_url)
    for server in await servers(connection, database_url):
        async with on_server(server.url) as there:
            if without := await shards_without_triggers(there):
                raise CannotDistribute(
                    f"On the server of group {server.group}, the triggers of {', '.join(without)} are "
                    "missing, so changes are lost; stop the services, and restore the triggers"
                )


async def _place_tables(connection: Connection, shards: int) -> None:
    """Gives each table that has no place yet its place, and each server all functions, within the caller's
    transaction."""
    placed = {row[0] for row in await connection.fetch(_PLACED)}
    await connection.execute(_MODE)
    await connection.execute(_SHARD_COUNT, str(shards))
    for table, statement in _statements().items():
        if table in placed:
            continue
        for policy in roles.policies(distributed=True):
            if policy.table == table and await connection.fetchval(_HAS_POLICY, table, policy.name):
                await connection.execute(roles.alter_policy(policy))
        await connection.execute(*statement)
    for (function,) in await connection.fetch(_FUNCTIONS_HERE_ALONE):
        await connection.execute(_ON_ALL_SERVERS, function)


def _statements() -> dict[str, tuple[str, str] | tuple[str, str, str]]:
    """The statement that places each table and its parameters, in an order that foreign keys allow."""
    first, *others = BY_ORGANIZATION
    statements: dict[str, tuple[str, str] | tuple[str, str, str]] = {
        table: (_ON_EACH_SERVER, table) for table in ON_EACH_SERVER
    }
    statements[first] = (_BY_ORGANIZATION, first, "none")
    statements |= {table: (_BY_ORGANIZATION, table, first) for table in others}
    for leader, *followers in ON_ONE_SERVER:
        statements[leader] = (_ON_ONE_SERVER, leader, "none")
        statements |= {table: (_ON_ONE_SERVER, table, leader) for table in followers}
    return statements


async def _set_settings(connection: Connection) -> None:
    there = {row[0] for row in await connection.fetch(_DATABASE_SETTINGS)}
    for setting, statement in _SET_SETTINGS.items():
        if setting not in there:
            await connection.execute(statement)


async def _complete_servers(connection: Connection, database_url: str) -> None:
    """Gives each server the outbox."""
    wanted = await statements_of_outbox(connection)
    publishes = await connection.fetchval(_PUBLISHES)
    for server in await servers(connection, database_url):
        if server.url != database_url:
            async with on_server(server.url) as there:
                await complete_outbox(there, wanted, publishes)


def _set_of_database(name: str, value: str) -> str:
    return f"""
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {name} = {value}', current_database()); END $$
"""


_SET_SETTINGS: Final = {f"{name}={value}": _set_of_database(name, value) for name, value in SETTINGS.items()}

_DATABASE_SETTINGS: Final = """
SELECT unnest(setconfig) FROM pg_db_role_setting
WHERE setrole = 0 AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

_LIMITS: Final = f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL statement_timeout = 0"

_MODE: Final = """
SET LOCAL citus.multi_shard_modify_mode = sequential; SET LOCAL citus.enable_unsafe_triggers = on
"""

_SHARD_COUNT: Final = "SELECT set_config('citus.shard_count', $1, true)"

_DISCONNECT: Final = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND application_name NOT LIKE 'callfold-migrate%' AND application_name NOT LIKE 'citus%'
"""

# Citus distributes what is made after its extension. Functions that are older are only here.
_FUNCTIONS_HERE_ALONE: Final = """
SELECT oid::regprocedure::text FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND starts_with(proname, 'callfold_') AND NOT EXISTS (
    SELECT 1 FROM pg_dist_object WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid)
ORDER BY 1
"""

_ON_ALL_SERVERS: Final = "SELECT create_distributed_function($1::text::regprocedure)"

_SERVERS_FOR_SHARDS: Final = """
SELECT count(*) FROM pg_dist_node WHERE shouldhaveshards AND isactive AND noderole = 'primary'
"""

_MAY_DISCONNECT: Final = """
SELECT pg_has_role('pg_read_all_stats', 'USAGE') AND pg_has_role('pg_signal_backend', 'USAGE')
"""

_ON_EACH_SERVER: Final = "SELECT create_reference_table($1::text::regclass)"

_BY_ORGANIZATION: Final = (
    "SELECT create_distributed_table($1::text::regclass, 'organization_id', colocate_with => $2)"
)

_ON_ONE_SERVER: Final = "SELECT create_distributed_table($1::text::regclass, NULL, colocate_with => $2)"

# Citus hides the rows as they were before, and keeps them on the disk.
_REMOVE_COPIES: Final = "SELECT truncate_local_data_after_distributing_table($1::text::regclass)"

_CITUS_VERSION: Final = "SELECT extversion FROM pg_extension WHERE extname = 'citus'"

_IS_COORDINATOR: Final = "SELECT groupid = 0 FROM pg_dist_local_group"

_PLACED: Final = "SELECT logicalrelid::text FROM pg_dist_partition"

_SHARDS: Final = "SELECT count(*) FROM pg_dist_shard WHERE logicalrelid = $1::text::regclass"

_PUBLISHES: Final = "SELECT EXISTS (SELECT 1 FROM publisher)"

_BODY: Final = "SELECT prosrc FROM pg_proc WHERE oid = to_regproc($1)"

_HAS_POLICY: Final = """
SELECT EXISTS (SELECT 1 FROM pg_policies
               WHERE schemaname = current_schema() AND tablename = $1 AND policyname = $2)
"""
