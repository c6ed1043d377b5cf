"""Upgrades a database to the newest step while services run."""

import time
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from shared.settings.database import Pooler

HERE: Final = Path(__file__).parent
PAUSES_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""The pauses between attempts to get a step's locks."""

_IN_THE_WAY: Final = ("55P03", "40P01")
"""The lock was not available in time; PostgreSQL cancelled the step in a deadlock."""


class TablesBusy(Exception):
    """A step's locks were not available in several attempts. The step is rolled back."""


def upgrade(database_url: str, pooler: Pooler = "none", *, scripts: Path = HERE) -> str | None:
    """Upgrades the database to the newest step of `scripts`, if it is older. Of two concurrent runs, the
    second waits. Newer tables are left as they are, because they also work for older processes; their step is
    returned. Raises `TablesBusy`."""
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
                    "The tables are in use, and a lock for the next step was never available. That step was "
                    "rolled back. Try again"
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
