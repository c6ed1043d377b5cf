"""Upgrading a database to the newest step, beside running services."""

import time
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from shared.settings.database import Pooler

HERE: Final = Path(__file__).parent
PAUSES_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Between the tries to get a step's locks."""

_IN_THE_WAY: Final = ("55P03", "40P01")
"""The lock could not be had in time; PostgreSQL chose us as a deadlock's victim."""


class TablesBusy(Exception):
    """A step's locks could not be had in several tries. Nothing of that step is there."""


def upgrade(database_url: str, pooler: Pooler = "none", *, scripts: Path = HERE) -> str | None:
    """Brings the database to the newest step of `scripts`, where it may be already. Of two at once the second
    waits. Returns the step of tables that are newer than that, which stay as they are: those are good for
    older processes, too. Raises `TablesBusy`."""
    config = _config(database_url, pooler, scripts)
    for pause in (*PAUSES_SECONDS, None):
        try:
            command.upgrade(config, "head")
            break
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _IN_THE_WAY:
                raise
            if pause is None:
                raise TablesBusy(
                    "The tables are in use, and a lock that the next step needs was never free: nothing of "
                    "that step was done, and it can be tried again"
                ) from None
        time.sleep(pause)
    newer: str | None = config.attributes.get("newer_step")
    return newer


def _config(database_url: str, pooler: Pooler, scripts: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["database_url"] = database_url
    config.attributes["pooler"] = pooler
    return config
