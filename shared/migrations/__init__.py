"""Bringing a database to the tables of shared/tables.py: `upgrade`, and the numbered steps in `versions`."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from shared.settings import Pooler


def upgrade(database_url: str, pooler: Pooler = "none") -> None:
    """Brings the database to the newest step, where it may be already. Of two at once the second waits."""
    command.upgrade(_config(database_url, pooler), "head")


def _config(database_url: str, pooler: Pooler) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["database_url"] = database_url
    config.attributes["pooler"] = pooler
    return config
