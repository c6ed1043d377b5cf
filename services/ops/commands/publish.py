"""`callfold publish`: shows and steers the publisher of changed calls."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Final, NamedTuple
from uuid import UUID

import typer

from services.ops.addresses import Place, database, find_database
from services.ops.commands.command_connection import operating
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import audit
from services.ops.terminal.options import JsonOption, StateOption
from services.ops.terminal.printing import counted, print_json
from services.publisher.changed_calls import WAITING_MAX, waiting
from shared.database.connection import Connection
from shared.database.distributed import is_distributed, servers


class Publishing(NamedTuple):
    """What the publisher does now."""

    leader: UUID | None
    """The process that publishes, or None."""
    publishes_all: bool
    changes_waiting: int
    oldest_change_seconds: int


def publish(
    all_calls: Annotated[
        bool,
        typer.Option("--all", help="Publish the present state of all calls again, beside the changes."),
    ] = False,
    stop: Annotated[
        bool,
        typer.Option("--stop", help="End publishing: changes are no longer recorded in the outbox."),
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the publisher of CALLFOLD_CALLS_TOPIC does.

    The first publisher that starts publishes all calls, and from then on each change. Use --all when the
    topic was lost, or its settings removed records. Use --stop after you have removed all publishers:
    without it, the outbox grows. The next publisher that starts publishes all calls again.

    Exit status: 0; 1 if no publisher has ever started, or one runs when --stop is given.
    """
    if all_calls and stop:
        raise Failure("--all cannot be combined with --stop.")
    found = asyncio.run(_publish(state, all_calls=all_calls, stop=stop))
    if as_json:
        print_json({"stopped": stop, **found._asdict()})
    elif stop:
        typer.echo("Publishing is ended. The outbox is empty, and changes are no longer recorded.")
    else:
        _print(found)


def _print(found: Publishing) -> None:
    typer.echo("A publisher leads." if found.leader else "No publisher runs. Changes wait in the outbox.")
    at_least = "at least " if found.changes_waiting == WAITING_MAX else ""
    rows = counted(found.changes_waiting, "row")
    oldest = f", the oldest for {found.oldest_change_seconds} s" if found.changes_waiting else ""
    typer.echo(f"The outbox has {at_least}{rows}{oldest}.")
    if found.publishes_all:
        verb = "are being" if found.leader else "will be"
        typer.echo(f"All calls {verb} published, beside the changes.")


async def _publish(state: Path | None, *, all_calls: bool, stop: bool) -> Publishing:
    async with operating(state, None) as connection, AsyncExitStack() as others:
        row = await connection.fetchrow(_READ)
        if row is None:
            raise Failure(
                "No publisher has started, so changes are not recorded. The first one that starts "
                "publishes all calls."
            )
        urls = await _other_servers(connection, find_database(state).address)
        outboxes = [
            connection,
            *[await others.enter_async_context(database(Place(url, None))) for url in urls],
        ]
        if stop:
            await _stop(outboxes)
            return Publishing(None, False, 0, 0)
        if all_calls:
            async with connection.transaction():
                await connection.execute(_ALL, UUID(int=0))
                await audit(connection, "all calls published again", None)
        leaders = [found["leader"] for one in outboxes if (found := await one.fetchrow(_READ)) is not None]
        rows, oldest_seconds = zip(*[await waiting(one) for one in outboxes], strict=True)
        return Publishing(
            None if None in leaders else leaders[0],
            all_calls or row["publishes_all"],
            min(sum(rows), WAITING_MAX),
            int(max(oldest_seconds)),
        )


async def _other_servers(connection: Connection, address: str) -> Sequence[str]:
    """The URLs of the other servers of a distributed database."""
    if not await is_distributed(connection):
        return ()
    return [server.url for server in await servers(connection, address) if server.url != address]


async def _stop(outboxes: Sequence[Connection]) -> None:
    """Empties the outbox of each server. Raises Failure while a process leads on one of them."""
    async with AsyncExitStack() as transactions:
        for connection in outboxes:
            await transactions.enter_async_context(connection.transaction())
            row = await connection.fetchrow(_READ_AND_HOLD)
            if row is not None and row["leader"] is not None:
                raise Failure("A publisher runs. Stop every publisher first.")
        for connection in outboxes:
            await connection.execute("DELETE FROM publisher")
            await connection.execute("DELETE FROM call_changes")
        await audit(outboxes[0], "publishing ended", None)


_READ: Final = """
SELECT CASE WHEN leads_until >= clock_timestamp() THEN leader END AS leader,
    all_after_organization IS NOT NULL AS publishes_all
FROM publisher
"""

_READ_AND_HOLD: Final = f"{_READ} FOR UPDATE"

_ALL: Final = "UPDATE publisher SET all_after_organization = $1, all_after_call = $1"
