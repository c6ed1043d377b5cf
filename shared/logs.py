"""Logs: one readable line a thing, on standard error."""

import logging
import sys

from shared.settings import LogSettings


def configure() -> None:
    """Sets up the process's logging by its settings."""
    logging.basicConfig(
        stream=sys.stderr,
        level=LogSettings().log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
    for library in ("aiokafka", "faststream", "alembic"):
        logging.getLogger(library).setLevel(logging.WARNING)
