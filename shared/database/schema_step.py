"""The step of shared/migrations that a database's tables are at, and the one that this code needs: told
without Alembic, whose import no service should pay for."""

from typing import TYPE_CHECKING, Final

import asyncpg

from shared.database.faults import TablesOutdated

if TYPE_CHECKING:
    from shared.database.connection import AnyConnection

NEEDED_STEP: Final = "0015"
"""The newest step. They are numbered with four digits, so that of any two the newer can be told, known or
not: while services are upgraded one by one, the older ones meet steps that they don't know."""

READ_STEP: Final = "SELECT version_num FROM alembic_version"


def new_enough(step: str | None) -> bool:
    """Whether this code can work with tables of this step."""
    return step is not None and step >= NEEDED_STEP


async def check_step(connection: "AnyConnection") -> None:
    """Raises `TablesOutdated` with a sentence, and asyncpg's errors."""
    try:
        step = await connection.fetchval(READ_STEP)
    except asyncpg.UndefinedTableError:
        step = None
    if not new_enough(step):
        at = f"at step {step}" if step else "not there"
        raise TablesOutdated(f"its tables are {at}, and step {NEEDED_STEP} is needed: run `callfold migrate`")
