"""The API, served in this process from a real database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx

from services.api.app import create_app
from shared.database.connection import Connection
from shared.database.roles import API
from shared.settings.api import ApiSettings
from tests.support.roles import as_role
from tests.support.seed import Tenant

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@asynccontextmanager
async def serving(
    database_url: str,
    *,
    now: datetime = NOW,
    clock: Callable[[], datetime] | None = None,
    peer: str = "127.0.0.1",
    role: str = API,
    **settings: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the address `peer`. The clock of the API stands still at `now`, or is `clock`. The URLs
    name the owner of the tests' databases, but the API connects as its role."""
    if "api_replica_url" in settings:
        settings["api_replica_url"] = as_role(settings["api_replica_url"], role)
    read = ApiSettings(database_url=as_role(database_url, role), **settings)
    app = create_app(read, clock=clock or (lambda: now))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 50_000))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        yield client


async def get(client: httpx.AsyncClient, tenant: Tenant, path: str, **query: object) -> Any:
    """The response to the tenant's live key, which must have status 200."""
    return await get_as(client, tenant.key, path, **query)


async def get_as(client: httpx.AsyncClient, key: str, path: str, **query: object) -> Any:
    """The response to a key, which must have status 200."""
    params = {name: str(value) for name, value in query.items()}
    response = await client.get(path, params=params or None, headers=bearing(key))
    assert response.status_code == 200, response.text
    return response.json()


def bearing(key: str) -> dict[str, str]:
    """The headers of a request with this key."""
    return {"Authorization": f"Bearer {key}"}


async def until_somebody_waits_for_a_lock(database: Connection) -> None:
    """Returns once the statement of a request waits for a lock of the transaction on this connection."""
    async with asyncio.timeout(10):
        while not await database.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database()"
        ):
            # PostgreSQL keeps the snapshot of pg_stat_activity until the transaction ends, unless it is
            # cleared.
            await database.execute("SELECT pg_stat_clear_snapshot()")
