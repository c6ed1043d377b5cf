"""The application: routes, errors, documentation, and the databases while it runs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from services.api import asyncapi, document, health
from services.api.access.credentials import CredentialLookups
from services.api.access.key_uses import KeyUses
from services.api.access.rate_limits import RateLimits, TellingLimits, rate_limits
from services.api.calls import detail, events, export, listing, recording
from services.api.calls.recording_store import recording_store
from services.api.console.serving import add_console
from services.api.database.databases import open_databases
from services.api.figures import stats, trends
from services.api.figures.answer_cache import Answers
from services.api.http import common_responses, cors
from services.api.http.errors import handle_errors
from services.api.metrics import Measured, Metrics
from services.api.stream import live_changes
from services.api.stream.streams import ApiWithStreams, Streams
from services.api.webhooks import deliveries, endpoints
from shared.settings.api import ApiSettings
from shared.settings.kafka import KafkaSettings

if TYPE_CHECKING:
    from services.api.access.tokens import Tokens

# Order matters: more specific paths come before `/calls/{id}`.
ROUTERS: Final = (
    listing.router,
    stats.router,
    trends.router,
    export.router,
    live_changes.router,
    events.router,
    recording.router,
    detail.router,
    endpoints.router,
    deliveries.router,
)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def create_app(
    settings: ApiSettings,
    clock: Callable[[], datetime] = _utc_now,
    metrics: Metrics | None = None,
    kafka: KafkaSettings | None = None,
) -> FastAPI:
    """The application. It also starts without the database. `clock` returns the current time, and `metrics`
    collects the measurements. `kafka` has the topic of calls; without it, streams are answered 503. Raises
    InvalidSetting when a setting needs a package that is not installed."""
    metrics = metrics or Metrics()
    limits, accepted_tokens = rate_limits(settings), _accepted_tokens(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        streams = _streams(settings, clock, metrics, kafka)
        async with _opened(settings, clock, limits, accepted_tokens, streams) as api:
            metrics.connections = api.databases.connections
            app.state.api = api
            yield

    app: FastAPI = FastAPIOffline(  # like FastAPI, but the page at /docs needs no internet access
        redoc_url=None,
        title=common_responses.TITLE,
        description=common_responses.DESCRIPTION,
        version=version("callfold"),
        servers=common_responses.SERVERS,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.api = None
    if limits.any:
        app.add_middleware(TellingLimits)
    app.add_middleware(Measured, metrics=metrics)
    _add_routes(app)
    asyncapi.add_route(app, settings.topic)
    add_console(app, "console.html")
    handle_errors(app)
    if settings.api_cors_origins:
        cors.allow_origins(app, settings.api_cors_origins)
    return app


def _add_routes(app: FastAPI) -> None:
    """The routes, and the document that describes them."""
    # Order matters: each router that does not match a request costs some microseconds.
    for prefix in ("", "/v1"):
        for router in ROUTERS:
            app.include_router(router, prefix=prefix, include_in_schema=not prefix)
    app.include_router(health.router)
    complete = partial(document.complete, app.openapi, (health.router, *ROUTERS))
    app.openapi = cache(complete)  # type: ignore[method-assign]


def _streams(
    settings: ApiSettings, clock: Callable[[], datetime], metrics: Metrics, kafka: KafkaSettings | None
) -> Streams:
    return Streams(settings, kafka, "" if kafka is None else kafka.calls_topic, clock, metrics)


def _accepted_tokens(settings: ApiSettings) -> "Tokens | None":
    if not settings.accepts_tokens:
        return None
    # Its libraries take an eighth of the time that the API takes to start.
    from services.api.access.tokens import tokens

    return tokens(settings)


@asynccontextmanager
async def _opened(
    settings: ApiSettings,
    clock: Callable[[], datetime],
    limits: RateLimits,
    accepted_tokens: "Tokens | None",
    streams: Streams,
) -> AsyncIterator[ApiWithStreams]:
    """The running API during the block. At its end, the streams, limits and tokens are closed."""
    key_uses = KeyUses()
    async with (
        open_databases(settings) as databases,
        key_uses.written(databases.primary, settings.api_key_use_interval_seconds),
    ):
        try:
            yield ApiWithStreams(
                databases=databases,
                clock=clock,
                credentials=CredentialLookups(databases.primary),
                tokens=accepted_tokens,
                key_uses=key_uses,
                rate_limits=limits,
                trusted_proxies=settings.api_trusted_proxies,
                answers=Answers(int(settings.api_answers_mib * 2**20)),
                search_calls=settings.api_search_calls,
                export_seconds=settings.api_export_seconds,
                secret_box=settings.secret_box(),
                webhook_networks=settings.webhook_networks,
                recording_store=recording_store(settings),
                streams=streams,
            )
        finally:
            await streams.close()
            await limits.close()
            if accepted_tokens is not None:
                await accepted_tokens.close()
