"""Health: whether the process is up, and whether it can answer."""

from fastapi import APIRouter, FastAPI, Request, Response

from services.api import documentation
from services.api.database import Databases
from services.api.encoding import answer
from services.api.errors import ApiError, outdated
from shared.step import READ_STEP, new_enough

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", **documentation.LIVE)
async def live() -> Response:
    """Answers as long as the process does, whatever the database does."""
    return answer({"status": "live"})


@router.get("/ready", **documentation.READY)
async def ready(request: Request) -> Response:
    """Answers when the database does, and the replica where there is one, and their tables are as new as
    this service needs them."""
    await _check(request.app)
    return answer({"status": "ready"})


# HEAD is answered as GET is, and needs no word of its own in the documentation.
router.head("/live", include_in_schema=False)(live)
router.head("/ready", include_in_schema=False)(ready)


async def why_waiting(app: FastAPI) -> str | None:
    """Why the application is not ready, as the error's sentence; None when it is."""
    if not hasattr(app.state, "databases"):
        return "It is starting."
    try:
        await _check(app)
    except ApiError as error:
        return error.sentence
    return None


async def _check(app: FastAPI) -> None:
    """Raises the 503 `ApiError` while it is not ready."""
    databases: Databases = app.state.databases
    for database in dict.fromkeys(databases):
        async with database.connection() as connection:
            step = await connection.fetchval(READ_STEP)
        if not new_enough(step):
            raise outdated()
