"""The migration step of a database's tables, and the step that this code needs. It is read without Alembic,
to save services its import."""

from typing import TYPE_CHECKING, Final

import asyncpg

from shared.database.faults import TablesOutdated

if TYPE_CHECKING:
    from shared.database.connection import AnyConnection

NEEDED_STEP: Final = "0023"
"""The newest step. Steps are numbered with four digits, so that any two can be compared. While services are
upgraded one by one, older ones find steps that they do not know."""

READ_STEP: Final = "SELECT version_num FROM alembic_version"


def new_enough(step: str | None) -> bool:
    """Whether this code can work with tables of this step."""
    return step is not None and step >= NEEDED_STEP


async def check_step(connection: "AnyConnection") -> None:
    """Raises `TablesOutdated` with the reason, and asyncpg's errors."""
    try:
        step = await connection.fetchval(READ_STEP)
    except asyncpg.UndefinedTableError:
        step = None
    if not new_enough(step):
        at = f"at step {step}" if step else "missing"
        raise TablesOutdated(f"its tables are {at}, and step {NEEDED_STEP} is needed: run `callfold migrate`")
