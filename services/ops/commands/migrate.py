"""`callfold migrate`: the database's tables, brought to the newest step."""

import asyncio
from typing import Annotated, Final

import typer

from services.ops.addresses import Place, database, database_faults, find_database
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import StateOption
from shared.settings.database import RolesSettings

RolesOption = Annotated[
    bool,
    typer.Option(
        "--roles",
        help="Make the services' roles, too, with their rights and the walls between organizations; with "
        "CALLFOLD_ROLES_PASSWORD, that is the password of each.",
    ),
]


def migrate(roles: RolesOption = False, state: StateOption = None) -> None:
    """Make the tables in a new database, or bring those of an older callfold up to date.

    Harmless where they are: it can run at each start, and of two at once the second waits. Tables of a newer
    callfold stay as they are, for this one runs on them.
    """
    secret = settings_from_environment(RolesSettings).roles_password
    # Here, because Alembic would slow the start of every other command.
    from sqlalchemy.exc import DBAPIError

    from shared.migrations.give_roles import MayNotMakeRoles, give_roles
    from shared.migrations.upgrade import TablesBusy
    from shared.migrations.upgrade import upgrade as to_newest

    place = find_database(state)
    asyncio.run(_connects(place))
    try:
        with database_faults(place):
            try:
                newer = to_newest(place.address, place.pooler)
            except DBAPIError as error:  # SQLAlchemy's wrapping of asyncpg's own
                raise (error.orig and error.orig.__cause__) or error from None
            if roles and newer is None:  # what those of a newer callfold may do is not ours to say
                password = None if secret is None else secret.get_secret_value()
                asyncio.run(give_roles(place.address, place.pooler, password=password))
    except TablesBusy as busy:
        raise Failure(f"{busy}{asyncio.run(_oldest_transaction(place))}.") from None
    except MayNotMakeRoles as refused:
        raise Failure(f"{refused}.") from None
    if newer is None:
        typer.echo(f"The database is up to date{', and so are the roles' if roles else ''}.")
    else:
        typer.echo(f"The database is of a newer callfold (step {newer}): this one runs on it, nothing to do.")


async def _connects(place: Place) -> None:
    """Says in one sentence what is wrong with the database, before Alembic would in many."""
    async with database(place):
        return


async def _oldest_transaction(place: Place) -> str:
    """Who is likely in the way."""
    async with database(place) as connection:
        oldest = await connection.fetchrow(_OLDEST_TRANSACTION)
    return (
        ""
        if oldest is None
        else "; the oldest transaction is that of {} (pid {}), {:.0f} s old".format(*oldest)
    )


_OLDEST_TRANSACTION: Final = """
SELECT coalesce(nullif(application_name, ''), usename), pid,
       extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND xact_start IS NOT NULL
ORDER BY xact_start
LIMIT 1
"""
