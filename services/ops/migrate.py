"""`callfold migrate`: the database's tables, brought to the newest step."""

import asyncio

import typer

from services.ops.addresses import Place, StateOption, database, database_faults, find_database
from services.ops.failure import Failure


def migrate(state: StateOption = None) -> None:
    """Make the tables in a new database, or bring those of an older callfold up to date.

    Harmless where they are: it can run at each start, and of two at once the second waits.
    """
    # Here, because Alembic would slow the start of every other command.
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    from shared.migrations import upgrade as to_newest

    place = find_database(state)
    asyncio.run(_connects(place))
    try:
        with database_faults(place):
            try:
                to_newest(place.address, place.pooler)
            except DBAPIError as error:  # SQLAlchemy's wrapping of asyncpg's own
                raise (error.orig and error.orig.__cause__) or error from None
    except CommandError as error:
        raise Failure(f"The database is of a newer callfold than this one ({error}): install that.") from None
    typer.echo("The database is up to date.")


async def _connects(place: Place) -> None:
    """Says in one sentence what is wrong with the database, before Alembic would in many."""
    async with database(place):
        return
