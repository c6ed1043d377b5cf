"""The application: routes, errors, documentation, and the databases for as long as it runs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from services.api import (
    answers,
    call,
    calls,
    cors,
    document,
    documentation,
    events,
    export,
    health,
    recording,
    stats,
    trends,
)
from services.api.credentials import Found
from services.api.database import Databases, open_databases
from services.api.errors import handle_errors
from services.api.key_uses import KeyUses
from services.api.metrics import Measured, Metrics
from services.api.rate_limits import TellingLimits, rate_limits
from services.api.recording_store import RecordingStore
from services.api.tokens import tokens
from shared.settings import ApiSettings

# In this order: what is more special comes before `/calls/{id}`.
ROUTERS: Final = (
    calls.router,
    stats.router,
    trends.router,
    export.router,
    events.router,
    recording.router,
    call.router,
)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def create_app(settings: ApiSettings, clock: Callable[[], datetime] = _utc_now) -> FastAPI:
    """The application. It starts without the database, too; `clock` says what day it is."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        uses = app.state.key_uses
        async with (
            open_databases(settings) as databases,
            uses.written(databases.primary, settings.api_key_use_interval_seconds),
        ):
            app.state.databases = databases
            app.state.found = Found(databases.primary)
            try:
                yield
            finally:
                await app.state.rate_limits.close()
                if app.state.tokens is not None:
                    await app.state.tokens.close()

    app: FastAPI = FastAPIOffline(  # FastAPI, but the page at /docs needs no internet
        redoc_url=None,
        title=documentation.TITLE,
        description=documentation.DESCRIPTION,
        version=version("callfold"),
        servers=documentation.SERVERS,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.clock = clock
    app.state.export_seconds = settings.api_export_seconds
    app.state.search_calls = settings.api_search_calls
    app.state.trusted_proxies = settings.api_trusted_proxies
    app.state.key_uses = KeyUses()
    app.state.answers = answers.Answers(int(settings.api_answers_mib * 2**20))
    app.state.tokens = tokens(settings)
    app.state.rate_limits = rate_limits(settings)
    app.state.recording_store = _recording_store(settings)
    app.state.metrics = Metrics(lambda: _connections(app))
    if app.state.rate_limits.any:
        app.add_middleware(TellingLimits)
    app.add_middleware(Measured, metrics=app.state.metrics)
    # In this order: each router that a request passes over costs some microseconds.
    for prefix in ("", "/v1"):
        for router in ROUTERS:
            app.include_router(router, prefix=prefix, include_in_schema=not prefix)
    app.include_router(health.router)
    handle_errors(app)
    complete = partial(document.complete, app.openapi, (health.router, *ROUTERS))
    app.openapi = cache(complete)  # type: ignore[method-assign]
    if settings.api_cors_origins:
        cors.allow_origins(app, settings.api_cors_origins)
    return app


def _recording_store(settings: ApiSettings) -> RecordingStore | None:
    if settings.recording_store_url is None:
        return None
    return RecordingStore(
        settings.recording_store_url,
        settings.recording_store_region,
        settings.recording_store_key_id or "",
        settings.recording_store_secret.get_secret_value() if settings.recording_store_secret else "",
        settings.recording_link_seconds,
    )


def _connections(app: FastAPI) -> dict[str, float]:
    """The connections to the databases by what they do; none before they were opened."""
    if not hasattr(app.state, "databases"):
        return {}
    databases: Databases = app.state.databases
    each = set(databases)
    return {
        "used": sum(database.used_connections for database in each),
        "idle": sum(database.idle_connections for database in each),
    }
