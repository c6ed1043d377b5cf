"""The databases: bounded pools of connections. The process keeps running while a database is unreachable."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
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
from shared.database.distributed import is_distributed
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
    # Unused filters are NULL parameters. A custom plan drops their conditions. A generic plan would keep all
    # of them, and could not distinguish large tenants from small ones.
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    # Starting workers takes longer than answering, and other requests also need the processors.
    "max_parallel_workers_per_gather": "0",
}

REPLICA: Final = "replica"
"""The name of the read-only database in messages."""

OTHERS_CONNECTIONS: Final = 2
"""How many connections one organization leaves to other organizations and to the lookup of credentials."""

_GENERIC_PLANS: Final = "SET LOCAL plan_cache_mode = force_generic_plan;"
_CUSTOM_PLANS: Final = "SET LOCAL plan_cache_mode = force_custom_plan"
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
    """Connections for one request each. The process starts without the database, and survives its loss."""

    def __init__(
        self, name: str, pools: "Pools", wait_seconds: float, is_distributed: Callable[[], bool]
    ) -> None:
        """`name` is its name in messages. `is_distributed` returns false before the first connection."""
        self.name = name
        self._is_distributed = is_distributed
        self._pool = pools.requests
        self._pool_of_health = pools.health
        self._pool_of_exports = pools.exports
        self._exports: Counter[UUID] = Counter()
        self._ends: set[asyncio.Task[None]] = set()
        self._shares = Shares(max(1, pools.requests.get_max_size() - OTHERS_CONNECTIONS), wait_seconds)
        self._wait_seconds = wait_seconds
        self._outage = Outage(log, f"the {name} is unavailable", f"the {name} answers again")
        self._asked_for_rules = name == REPLICA  # a replica has the primary's rows

    @property
    def is_distributed(self) -> bool:
        """Whether Citus distributes its tables; false before the first connection."""
        return self._is_distributed()

    @property
    def idle_connections(self) -> int:
        return self._pool.get_idle_size()

    @property
    def used_connections(self) -> int:
        return self._pool.get_size() - self._pool.get_idle_size()

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """A connection for the block. Raises the 503 `ApiError` when the database is unreachable, stays busy,
        or does not have the tables yet."""
        return self._connection_of(self._pool)

    @asynccontextmanager
    async def snapshot(
        self, organization_id: UUID, *, generic_plans: bool = False
    ) -> AsyncIterator[Connection]:
        """A connection for the block. All of its statements see one snapshot, and in it only this
        organization's rows. With `generic_plans`, a session plans a statement only once. Raises the same as
        `connection`, and also the 503 `ApiError` when this organization's requests hold all connections that
        one organization may use."""
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._shares.one(organization_id))
            # Citus plans nothing without the values.
            generic = generic_plans and not self.is_distributed
            of_organization = self._snapshot_of(self._pool, organization_id, generic)
            yield await held.enter_async_context(of_organization)
            # The block has read everything: the request does not wait for the end of the transaction.
            end = asyncio.create_task(_release(held.pop_all()))
            self._ends.add(end)
            end.add_done_callback(self._ends.discard)

    @asynccontextmanager
    async def export(self, organization_id: UUID) -> AsyncIterator[Connection]:
        """The same for an export, from a pool of its own. Also raises the 503 `ApiError` when the maximum
        number of exports runs. One organization may run all but one of these, so that it does not block the
        others."""
        most = self._pool_of_exports.get_max_size()
        if self._exports.total() >= most or self._exports[organization_id] >= max(1, most - 1):
            raise exports_busy()
        self._exports[organization_id] += 1
        try:
            async with self._snapshot_of(self._pool_of_exports, organization_id, False) as connection:
                yield connection
        finally:
            self._exports -= Counter([organization_id])  # subtraction drops organizations without exports

    @asynccontextmanager
    async def _snapshot_of(
        self, pool: Pool, organization_id: UUID, generic_plans: bool
    ) -> AsyncIterator[Connection]:
        async with self._connection_of(pool) as connection:
            # One message, so that it takes no longer than a BEGIN alone.
            plans = _GENERIC_PLANS if generic_plans else ""
            await connection.execute(f"{_BEGIN_SNAPSHOT} {_set_organization(organization_id)} {plans}")
            try:
                yield connection
            finally:
                await _end(connection)

    async def check(self) -> None:
        """Raises the 503 `ApiError`, with the fault as its cause, while the database is unavailable or its
        tables are too old. It uses a separate connection, because a check that waits behind requests would
        only measure those. The first check also warns of calls that other time-zone rules placed, so that no
        request waits for that query."""
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
            log.warning("a request timed out: %s", loggable(error, _LIMITS))
            raise timed_out() from error
        except _FAULTS as error:
            # Every failure to connect (also: no such database, no such role) means that the database is
            # unavailable.
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


async def _release(held: AsyncExitStack) -> None:
    """Ends a snapshot whose request has its answer."""
    with suppress(ApiError):  # the outage was logged
        await held.aclose()


async def with_custom_plans(connection: Connection) -> None:
    """Makes PostgreSQL plan the further statements of a snapshot for their parameters. Raises asyncpg's
    errors."""
    await connection.execute(_CUSTOM_PLANS)


@asynccontextmanager
async def changing(connection: Connection, organization_id: UUID) -> AsyncIterator[None]:
    """A transaction for the block that can change this organization's rows and no others. Raises asyncpg's
    errors."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(_set_organization(organization_id))
        yield


async def _end(connection: Connection) -> None:
    """Ends a transaction that changed nothing. If that fails, it terminates the connection."""
    if connection.is_closed():
        return
    try:
        await connection.execute("ROLLBACK", timeout=_RELEASE_SECONDS)
    except BaseException:
        connection.terminate()
        raise


def _set_organization(organization_id: UUID) -> str:
    """Sets, for this transaction, the organization whose rows the row-level security policies allow."""
    return f"SET LOCAL callfold.organization = '{organization_id}';"


class Pools(NamedTuple):
    """Connections by purpose, so that no purpose waits for another."""

    requests: Pool
    health: Pool
    exports: Pool


class Databases(NamedTuple):
    """The database for each purpose."""

    primary: Database
    """Reads credentials, and takes every write."""
    reading: Database
    """Reads calls and counts: the replica if there is one, else the primary."""

    @property
    def has_replica(self) -> bool:
        return self.reading is not self.primary

    def connections(self) -> dict[str, float]:
        """The number of connections by state, as in the metrics."""
        each = set(self)
        return {
            "used": sum(database.used_connections for database in each),
            "idle": sum(database.idle_connections for database in each),
        }


@dataclass(frozen=True, kw_only=True)
class ApiWithDatabases:
    """The parts of the running API that health uses.

    There is one such object, an `ApiWithStreams`, in `app.state.api` from start to stop. It derives from this
    class through `ApiWithAccess`, `ApiWithAnswers` and `Api`. Each package adds the parts that it needs, and
    does not know the parts that the packages above it add.
    """

    databases: Databases

    @classmethod
    def of(cls, request: Request) -> Self:
        """The API that answers the request."""
        api: Self = request.app.state.api
        return api


@asynccontextmanager
async def open_databases(settings: ApiSettings) -> AsyncIterator[Databases]:
    """The databases during the block. They connect on first use."""
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
        yield Database(name, pools, settings.api_pool_wait_seconds, lambda: connector.is_distributed)
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
        self.is_distributed = False

    async def pool(self, connections: int, seconds: float) -> Pool:
        """A pool that opens up to `connections` connections on demand. A statement on them takes at most
        `seconds`."""
        return await asyncpg.create_pool(
            min_size=0, max_size=connections, connect=partial(self._connect, seconds), reset=_nothing
        )

    async def _connect(self, seconds: float, *_: object, **__: object) -> asyncpg.Connection:
        connection = await connect(
            self._url,
            application_name="callfold-api",
            pooler=self._settings.database_pooler,
            timeout_seconds=self._settings.database_connect_timeout_seconds,
            command_timeout_seconds=seconds
            + 1,  # the server's timeout fires first, unless the server is gone
            settings={**SESSION, "statement_timeout": str(max(1, int(seconds * 1000)))},
        )
        # Asked of each: the tables may be distributed while this process runs.
        self.is_distributed = await is_distributed(connection)
        if not self._has_warned and await connection.fetchval(_IS_WALLED) is False:
            self._has_warned = True
            log.warning(
                "row-level security does not apply to this role on the %s, so it can see the rows of all "
                "organizations: connect as callfold_api, which `callfold migrate --roles` creates",
                self._name,
            )
        return connection


async def _nothing(_: object) -> None:
    """Replaces asyncpg's reset, which costs a round trip per request. No request leaves state in its session,
    because settings and locks are only used within transactions."""
