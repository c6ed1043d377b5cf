"""The databases: bounded pools of connections that may come and go while the process stays up."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from uuid import UUID

import asyncpg
from fastapi import Request

from services.api.database.connection_shares import Shares
from services.api.http.error_codes import ErrorCode
from services.api.http.errors import ApiError, being_stopped, exports_busy, outdated, timed_out, unavailable
from shared.database.connection import connect
from shared.database.faults import PASSING_TYPES, TablesOutdated, is_passing
from shared.database.loggable import loggable
from shared.database.schema_step import check_step
from shared.outage import Outage
from shared.settings.api import ApiSettings
from shared.store.zone_rules import warn_of_other_rules

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:  # the stubs are generic, the classes are not
    Pool = asyncpg.Pool
    Connection = asyncpg.pool.PoolConnectionProxy

SESSION: Final = {
    # Filters that were not asked for are NULL parameters. A plan for the actual values drops them; a generic
    # plan would have to keep every one, and would not know a large tenant from a small.
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    # To start workers takes longer than to answer, and other requests want the processors, too.
    "max_parallel_workers_per_gather": "0",
}

# A snapshot tells which transactions are in sight, and its text changes with each that ends. After a crash,
# numbers of transactions that nobody had to keep are given out again, and the postmaster may have lived on:
# but the statistics are reset then. A standby's snapshot does not tell all that is in progress.
STATE: Final = """CASE WHEN NOT pg_is_in_recovery() THEN concat_ws(
    ' ', pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time(), pg_current_snapshot()
) END"""
"""An expression that names the state which its statement sees: equal texts, equal rows, whenever. Null at a
standby. Within a function it is that of the statement which calls it only when the function is STABLE."""

REPLICA: Final = "replica"
"""What the database that is only read is called in sentences."""

OTHERS_CONNECTIONS: Final = 2
"""What the requests of one organization leave to others and to finding credentials, however slow they are."""

_BEGIN_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"

# Null while there are no tables.
_IS_WALLED: Final = "SELECT row_security_active(to_regclass('calls')::oid)"

_RELEASE_SECONDS = 1.0
_CLOSE_SECONDS = 1.0

_LIMITS: Final = {
    "statement_timeout": "CALLFOLD_API_STATEMENT_TIMEOUT_SECONDS, or CALLFOLD_API_EXPORT_SECONDS of an export"
}
_FAULTS = (*PASSING_TYPES, TimeoutError)

log = logging.getLogger("callfold.api")


class Database:
    """Connections for one request each. Neither opening nor losing the database stops the process."""

    def __init__(self, name: str, pools: "Pools", wait_seconds: float) -> None:
        """`name` is what it is called in sentences."""
        self.name = name
        self._pool = pools.requests
        self._pool_of_health = pools.health
        self._pool_of_exports = pools.exports
        self._exports: Counter[UUID] = Counter()
        self._shares = Shares(max(1, pools.requests.get_max_size() - OTHERS_CONNECTIONS), wait_seconds)
        self._wait_seconds = wait_seconds
        self._outage = Outage(log, f"the {name} can't be asked", f"the {name} answers again")
        self._asked_for_rules = name == REPLICA  # it has what the primary has

    @property
    def idle_connections(self) -> int:
        return self._pool.get_idle_size()

    @property
    def used_connections(self) -> int:
        return self._pool.get_size() - self._pool.get_idle_size()

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """A connection for the block. Raises the 503 `ApiError` when the database is away, stays busy, or
        has not the tables yet."""
        return self._connection_of(self._pool)

    @asynccontextmanager
    async def snapshot(self, organization_id: UUID) -> AsyncIterator[Connection]:
        """A connection for the block, all of whose statements see one state of the database, and of it only
        what is this organization's. Raises what `connection` raises, also when this organization's requests
        hold all connections that one may."""
        async with (
            self._shares.one(organization_id),
            self._snapshot_of(self._pool, organization_id) as connection,
        ):
            yield connection

    @asynccontextmanager
    async def export(self, organization_id: UUID) -> AsyncIterator[Connection]:
        """The same for as long as an export takes, and of connections that no other request waits for. Raises
        the 503 `ApiError` also when so many exports run already: of one organization all but one of them, so
        that it keeps nobody else from theirs."""
        most = self._pool_of_exports.get_max_size()
        if self._exports.total() >= most or self._exports[organization_id] >= max(1, most - 1):
            raise exports_busy()
        self._exports[organization_id] += 1
        try:
            async with self._snapshot_of(self._pool_of_exports, organization_id) as connection:
                yield connection
        finally:
            self._exports -= Counter([organization_id])  # which forgets who has none left

    @asynccontextmanager
    async def _snapshot_of(self, pool: Pool, organization_id: UUID) -> AsyncIterator[Connection]:
        async with self._connection_of(pool) as connection:
            # In one message, so that it takes no longer than a BEGIN.
            await connection.execute(f"{_BEGIN_SNAPSHOT} {_set_organization(organization_id)}")
            try:
                yield connection
            finally:
                await _end(connection)

    async def check(self) -> None:
        """Raises the 503 `ApiError`, from the fault, while the database can't be asked or its tables are too
        old. It takes a connection of its own: one that waits behind requests would tell of those. The first
        check also warns of calls that other time-zone rules placed: so no request waits for that."""
        async with self._connection_of(self._pool_of_health) as connection:
            await check_step(connection)
            if not self._asked_for_rules:
                self._asked_for_rules = await warn_of_other_rules(connection, log)

    @asynccontextmanager
    async def _connection_of(self, pool: Pool) -> AsyncIterator[Connection]:
        acquired: Connection | None = None
        try:
            acquired = await pool.acquire(timeout=self._wait_seconds)
            try:
                yield acquired
            finally:
                await pool.release(acquired, timeout=_RELEASE_SECONDS)
        except (
            asyncpg.UndefinedTableError,
            asyncpg.UndefinedColumnError,
            asyncpg.UndefinedFunctionError,
            TablesOutdated,
        ) as error:
            self._outage.begin(loggable(error))
            raise outdated() from error
        except asyncpg.QueryCanceledError as error:
            log.warning("a request took longer than it may: %s", loggable(error, _LIMITS))
            raise timed_out() from error
        except _FAULTS as error:
            # Whatever keeps us from connecting (no such database, no such role) is the database's absence.
            if acquired is not None and not is_passing(error):
                raise
            raise self._unavailable(error) from error
        except asyncio.CancelledError as error:
            raise being_stopped() from error
        self._outage.end()

    def _unavailable(self, error: BaseException) -> ApiError:
        self._outage.begin(loggable(error))
        return unavailable(
            ErrorCode.DATABASE_UNAVAILABLE, f"The {self.name} is unavailable; retry in a moment."
        )


@asynccontextmanager
async def changing(connection: Connection, organization_id: UUID) -> AsyncIterator[None]:
    """A transaction for the block, that may change what is this organization's, and nothing else. Raises
    asyncpg's errors."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(_set_organization(organization_id))
        yield


async def _end(connection: Connection) -> None:
    """Ends a transaction that changed nothing. The connection is of no more use when that can't be done."""
    if connection.is_closed():
        return
    try:
        await connection.execute("ROLLBACK", timeout=_RELEASE_SECONDS)
    except BaseException:
        connection.terminate()
        raise


def _set_organization(organization_id: UUID) -> str:
    """For this transaction, whose rows the policies of the tables let through."""
    return f"SET LOCAL callfold.organization = '{organization_id}';"


class Pools(NamedTuple):
    """Connections by what they are for, so that none of it has to wait for the other."""

    requests: Pool
    health: Pool
    exports: Pool


class Databases(NamedTuple):
    """Where to ask what."""

    primary: Database
    """Credentials, and what changes something."""
    reading: Database
    """Calls and counts: the replica, or where there is none, the primary."""

    @property
    def has_replica(self) -> bool:
        return self.reading is not self.primary

    def connections(self) -> dict[str, float]:
        """How many connections there are, by what they do: as the metrics have them."""
        each = set(self)
        return {
            "used": sum(database.used_connections for database in each),
            "idle": sum(database.idle_connections for database in each),
        }


@dataclass(frozen=True, kw_only=True)
class ApiWithDatabases:
    """The running API, as far as health knows it.

    There is one such object, an `Api`, in `app.state.api` from start to stop. `Api` derives from this class
    by way of `ApiWithAccess` and `ApiWithAnswers`. Each package adds the parts that it needs, and knows
    nothing of the parts that the packages above it add.
    """

    databases: Databases

    @classmethod
    def of(cls, request: Request) -> Self:
        """The API that answers the request."""
        api: Self = request.app.state.api
        return api


@asynccontextmanager
async def open_databases(settings: ApiSettings) -> AsyncIterator[Databases]:
    """The databases for as long as the block; connects when first asked."""
    async with _open("database", settings.database_url, settings) as primary:
        if settings.api_replica_url is None:
            yield Databases(primary, primary)
            return
        async with _open(REPLICA, settings.api_replica_url, settings) as replica:
            yield Databases(primary, replica)


@asynccontextmanager
async def _open(name: str, url: str, settings: ApiSettings) -> AsyncIterator[Database]:
    connector = _Connector(name, url, settings)
    pools = Pools(
        requests=await connector.pool(settings.api_pool_connections, settings.api_statement_timeout_seconds),
        health=await connector.pool(1, settings.api_statement_timeout_seconds),
        exports=await connector.pool(settings.api_export_connections, settings.api_export_seconds),
    )
    try:
        yield Database(name, pools, settings.api_pool_wait_seconds)
    finally:
        try:
            await asyncio.wait_for(asyncio.gather(*(pool.close() for pool in pools)), _CLOSE_SECONDS)
        except TimeoutError:
            for pool in pools:
                pool.terminate()


class _Connector:
    """Connects to one database. Warns once when row-level security does not apply to the role."""

    def __init__(self, name: str, url: str, settings: ApiSettings) -> None:
        self._name = name
        self._url = url
        self._settings = settings
        self._has_warned = False

    async def pool(self, connections: int, seconds: float) -> Pool:
        """A pool that opens up to `connections` connections when they are needed; a statement on them takes
        at most `seconds`."""
        return await asyncpg.create_pool(
            min_size=0, max_size=connections, connect=partial(self._connect, seconds), reset=_nothing
        )

    async def _connect(self, seconds: float, *_: object, **__: object) -> asyncpg.Connection:
        connection = await connect(
            self._url,
            application_name="callfold-api",
            pooler=self._settings.database_pooler,
            timeout_seconds=self._settings.database_connect_timeout_seconds,
            command_timeout_seconds=seconds + 1,  # the server's own comes first, unless the server is gone
            settings={**SESSION, "statement_timeout": str(max(1, int(seconds * 1000)))},
        )
        if not self._has_warned and await connection.fetchval(_IS_WALLED) is False:
            self._has_warned = True
            log.warning(
                "the %s lets this role see the rows of all organizations, for row-level security does not "
                "apply to it: connect as callfold_api, which `callfold migrate --roles` makes",
                self._name,
            )
        return connection


async def _nothing(_: object) -> None:
    """In place of asyncpg's reset, a round trip per request: no request leaves state in its session, for
    settings and locks are only ever taken for a transaction."""
