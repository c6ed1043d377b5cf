"""Health: whether the process is up, and whether it can answer."""

from collections.abc import Iterable
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response

from services.api.database.databases import ApiWithDatabases, Database
from services.api.http import common_responses
from services.api.http.encoding import answer
from services.api.http.errors import ApiError
from services.api.http.models import Health
from shared.database.loggable import loggable

_AT_THE_ROOT: Final = {"servers": [{"url": "/", "description": "Health has no versions."}]}
LIVE: Final[dict[str, Any]] = {
    "operation_id": "live",
    "summary": "Is the process up?",
    "response_model": Health,
    "response_description": "It is.",
    "openapi_extra": _AT_THE_ROOT,
}
READY: Final[dict[str, Any]] = {
    "operation_id": "ready",
    "summary": "Can it answer?",
    "response_model": Health,
    "response_description": "It can.",
    "responses": {503: common_responses.UNAVAILABLE},
    "openapi_extra": _AT_THE_ROOT,
}

SAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "live": ("/health/live",),
    "ready": ("/health/ready",),
}
"""What each operation may be asked, to be tried in a shell."""

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", **LIVE)
async def live() -> Response:
    """Answers as long as the process does, whatever the database does."""
    return answer({"status": "live"})


@router.get("/ready", **READY)
async def ready(request: Request) -> Response:
    """Answers when the database does, and the replica where there is one, and their tables are as new as
    this service needs them."""
    for database in _each(ApiWithDatabases.of(request)):
        await database.check()
    return answer({"status": "ready"})


# HEAD is answered as GET is, and needs no word of its own in the documentation.
router.head("/live", include_in_schema=False)(live)
router.head("/ready", include_in_schema=False)(ready)


async def why_waiting(app: FastAPI) -> str | None:
    """Why the application is not ready, for the operator: the fault behind the client's error; None when it
    is."""
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
    """The primary, and the replica where there is one."""
    return dict.fromkeys(api.databases)
