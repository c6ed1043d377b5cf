"""The application of the monitor port with the admin API: metrics, health, the routes below /admin, and the
console of operators."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import SecretStr

from services.api.console.serving import add_console
from services.api.http.errors import handle_errors
from services.ops.addresses import Place
from services.ops.admin import (
    documentation,
    lag_routes,
    proof_routes,
    quarantine_routes,
    source_routes,
    webhook_routes,
)
from services.ops.admin.proof_process import ProofProcess
from services.ops.admin.running_admin import RunningAdmin
from services.ops.admin.token_guard import OPENAPI_PATH, PREFIX, TokenGuard, described
from shared.monitoring.monitor import PROBES, Probes
from shared.settings.ingest import IngestSettings

CONSOLE_PAGE: Final = "operators.html"
ROUTERS = (
    lag_routes.router,
    quarantine_routes.router,
    source_routes.router,
    webhook_routes.router,
    proof_routes.router,
)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def create_admin_app(
    token: SecretStr,
    place: Place,
    settings: IngestSettings,
    probes: Probes,
    *,
    clock: Callable[[], datetime] = _utc_now,
) -> FastAPI:
    """The application. `place` is the database as an operator uses it, and `settings` say how ingest reads
    Kafka. `clock` returns the current time. The files of the console are public."""
    proof = ProofProcess(place.address)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await proof.stop()

    app = FastAPI(
        title=documentation.TITLE,
        description=documentation.DESCRIPTION,
        version=version("callfold"),
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.admin = RunningAdmin(place=place, settings=settings, clock=clock, proof=proof)
    admin = APIRouter(prefix=PREFIX, dependencies=[Depends(described)])
    for router in ROUTERS:
        admin.include_router(router)
    app.include_router(admin)
    _add_probes(app, probes)
    add_console(app, CONSOLE_PAGE)
    handle_errors(app)
    app.add_middleware(TokenGuard, token=token)
    return app


def _add_probes(app: FastAPI, probes: Probes) -> None:
    async def probe(request: Request) -> Response:
        found = await probes.answer(request.url.path.encode())
        return Response(
            found.body, found.status, {"Cache-Control": "no-store"}, media_type=found.content_type
        )

    for path in PROBES:
        app.add_route(path, probe, methods=["GET", "HEAD"], include_in_schema=False)
