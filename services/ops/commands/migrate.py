"""`callfold migrate`: brings the database's tables to the newest step."""

import asyncio
from typing import Annotated, Final

import typer

from services.ops.addresses import Place, database, database_faults, find_database
from services.ops.terminal.environment import settings_from_environment
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import JsonOption, StateOption
from services.ops.terminal.printing import print_json
from shared.database.schema_step import NEEDED_STEP
from shared.settings.database import RolesSettings

RolesOption = Annotated[
    bool,
    typer.Option(
        "--roles",
        help="Also create the services' roles, their privileges and the row-level security policies. "
        "CALLFOLD_ROLES_PASSWORD, if set, becomes the password of each role.",
    ),
]

DistributeOption = Annotated[
    bool,
    typer.Option(
        "--distribute",
        help="Also distribute the tables over the servers of Citus, with their rows. All other sessions are "
        "disconnected; services wait until it is done.",
    ),
]


def migrate(
    roles: RolesOption = False,
    distribute: DistributeOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create the tables in a new database, or migrate those of an older callfold.

    Running it again is harmless, so it can run at each start. Of two runs at once, the second waits. Tables
    of a newer callfold stay unchanged, because this version runs on them.

    In a database that Citus distributes, it also places new tables, and prepares servers that were added.
    """
    secret = settings_from_environment(RolesSettings).roles_password
    # Here, because Alembic would slow the start of every other command.
    from sqlalchemy.exc import DBAPIError

    from shared.migrations.distribute import check_server, place_tables
    from shared.migrations.distribute import distribute as distribute_tables
    from shared.migrations.give_roles import MayNotMakeRoles, give_roles
    from shared.migrations.on_server import CannotDistribute
    from shared.migrations.upgrade import TablesBusy
    from shared.migrations.upgrade import upgrade as to_newest

    distributed = False
    place = find_database(state)
    asyncio.run(_connects(place))
    try:
        with database_faults(place):
            asyncio.run(check_server(place.address, place.pooler, distributes=distribute))
            try:
                newer = to_newest(place.address, place.pooler)
            except DBAPIError as error:  # SQLAlchemy's wrapping of asyncpg's own
                raise (error.orig and error.orig.__cause__) or error from None
            if newer is None:  # a newer callfold knows more tables
                if distribute:
                    asyncio.run(distribute_tables(place.address, place.pooler))
                distributed = distribute or asyncio.run(place_tables(place.address, place.pooler))
            if roles and newer is None:  # a newer callfold decides on its own roles
                password = None if secret is None else secret.get_secret_value()
                asyncio.run(give_roles(place.address, place.pooler, password=password))
    except TablesBusy as busy:
        raise Failure(f"{busy}{asyncio.run(_oldest_transaction(place))}.") from None
    except (CannotDistribute, MayNotMakeRoles) as refused:
        raise Failure(f"{refused}.") from None
    if as_json:
        print_json(
            {
                "step": newer or NEEDED_STEP,
                "newer": newer is not None,
                "roles": roles and newer is None,
                "distributed": distributed,
            }
        )
    elif newer is None:
        typer.echo(f"The database is up to date{', and so are the roles' if roles else ''}.")
        if distributed:
            typer.echo(
                "Its tables are distributed over the servers of Citus, and each server has its outbox."
            )
    else:
        typer.echo(
            f"A newer callfold migrated the database (step {newer}). This version runs on it: nothing to do."
        )


async def _connects(place: Place) -> None:
    """Raises Failure for a database that cannot be used, before Alembic raises a longer error."""
    async with database(place):
        return


async def _oldest_transaction(place: Place) -> str:
    """The transaction that probably blocks the migration."""
    async with database(place) as connection:
        oldest = await connection.fetchrow(_OLDEST_TRANSACTION)
    return (
        ""
        if oldest is None
        else "; the oldest transaction belongs to {} (pid {}) and is {:.0f} s old".format(*oldest)
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
