"""Health: whether the process runs, and whether it can answer requests."""

from collections.abc import Iterable
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response

from services.api.database.databases import ApiWithDatabases, Database
from services.api.http import common_responses
from services.api.http.answers import answer
from services.api.http.errors import ApiError
from services.api.http.models import Health
from shared.database.loggable import loggable

_AT_THE_ROOT: Final = {"servers": [{"url": "/", "description": "Health routes have no version."}]}
LIVE: Final[dict[str, Any]] = {
    "operation_id": "live",
    "summary": "Check that the process runs",
    "response_model": Health,
    "response_description": "The process runs.",
    "openapi_extra": _AT_THE_ROOT,
}
READY: Final[dict[str, Any]] = {
    "operation_id": "ready",
    "summary": "Check that the API can answer requests",
    "response_model": Health,
    "response_description": "The API can answer.",
    "responses": {503: common_responses.UNAVAILABLE},
    "openapi_extra": _AT_THE_ROOT,
}

SAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "live": ("/health/live",),
    "ready": ("/health/ready",),
}
"""Example requests of each operation, for a shell."""

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", **LIVE)
async def live() -> Response:
    """Succeeds while the process runs, even if the database is unreachable."""
    return answer({"status": "live"})


@router.get("/ready", **READY)
async def ready(request: Request) -> Response:
    """Succeeds when the database, and the replica if one is set, answer and have the tables that this version
    needs."""
    for database in _each(ApiWithDatabases.of(request)):
        await database.check()
    return answer({"status": "ready"})


# HEAD answers like GET and is not documented separately.
router.head("/live", include_in_schema=False)(live)
router.head("/ready", include_in_schema=False)(ready)


async def why_waiting(app: FastAPI) -> str | None:
    """Why the application is not ready, for the operator: the fault behind the client's error. None when it
    is ready."""
    api: ApiWithDatabases | None = app.state.api
    if api is None:
        return "is starting"
    for database in _each(api):
        try:
            await database.check()
        except ApiError as error:
            return f"waits for the {database.name}: {loggable(error.__cause__ or error)}"
    return None


def _each(api: ApiWithDatabases) -> Iterable[Database]:
    """The primary, and the replica if there is one."""
    return dict.fromkeys(api.databases)
