"""Health: whether the process is up, and whether it can answer."""

from collections.abc import Iterable

from fastapi import APIRouter, FastAPI, Request, Response

from services.api import documentation
from services.api.database import Database, Databases
from services.api.encoding import answer
from services.api.errors import ApiError
from shared.database import loggable

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", **documentation.LIVE)
async def live() -> Response:
    """Answers as long as the process does, whatever the database does."""
    return answer({"status": "live"})


@router.get("/ready", **documentation.READY)
async def ready(request: Request) -> Response:
    """Answers when the database does, and the replica where there is one, and their tables are as new as
    this service needs them."""
    for database in _each(request.app):
        await database.check()
    return answer({"status": "ready"})


# HEAD is answered as GET is, and needs no word of its own in the documentation.
router.head("/live", include_in_schema=False)(live)
router.head("/ready", include_in_schema=False)(ready)


async def why_waiting(app: FastAPI) -> str | None:
    """Why the application is not ready, for the operator: the fault behind the client's error; None when it
    is."""
    if not hasattr(app.state, "databases"):
        return "is starting"
    for database in _each(app):
        try:
            await database.check()
        except ApiError as error:
            return f"waits for the {database.name}: {loggable(error.__cause__ or error)}"
    return None


def _each(app: FastAPI) -> Iterable[Database]:
    """The primary, and the replica where there is one."""
    databases: Databases = app.state.databases
    return dict.fromkeys(databases)
