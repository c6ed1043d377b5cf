"""Health: whether the process is up, and whether it can answer."""

from pathlib import Path
from typing import Final

from alembic.script import ScriptDirectory
from alembic.util import CommandError
from fastapi import APIRouter, Request, Response

from services.api import documentation
from services.api.database import Databases
from services.api.encoding import answer
from services.api.errors import outdated
from shared import migrations

_STEP: Final = "SELECT version_num FROM alembic_version"

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", **documentation.LIVE)
async def live() -> Response:
    """Answers as long as the process does, whatever the database does."""
    return answer({"status": "live"})


@router.get("/ready", **documentation.READY)
async def ready(request: Request) -> Response:
    """Answers when the database does, and the replica where there is one, and their tables are as new as
    this service needs them."""
    databases: Databases = request.app.state.databases
    for database in dict.fromkeys(databases):
        async with database.connection() as connection:
            step = await connection.fetchval(_STEP)
        if step is None or not _new_enough(step):
            raise outdated()
    return answer({"status": "ready"})


_steps = ScriptDirectory(str(Path(migrations.__file__).parent))
_newest = _steps.get_current_head()


def _new_enough(step: str) -> bool:
    """A step that we don't know is newer than all we know: while replicas are upgraded one by one, the old
    ones go on."""
    if step == _newest:
        return True
    try:
        _steps.get_revision(step)
    except CommandError:
        return True
    return False
