"""`callfold org delete`: deletes an organization and all of its data, in small transactions."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer

from services.aggregator.apply_deltas import apply_deltas
from services.aggregator.prune import drop_calls
from services.ops.addresses import database, find_database
from services.ops.commands.command_connection import LONG_STATEMENT_SECONDS
from services.ops.repair.quarantine_search import count_content, records_of, remove_records
from services.ops.repair.retry_overtaken import until_not_overtaken
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import audit, operator
from services.ops.terminal.options import JsonOption, OrganizationArgument, StateOption
from services.ops.terminal.plain_help import Command
from services.ops.terminal.printing import counted, print_json
from services.ops.terminal.program import suggestion
from services.ops.terminal.progress_bar import progress
from shared.backoff import Backoff
from shared.calls.organization_tombstone import organization_tombstone
from shared.counts.counted_sql import TAKE_AWAY
from shared.database.connection import Connection
from shared.database.held_locks import NotEverywhere, hold_on_each_server
from shared.database.locks import DAYS_LOCK
from shared.store.deltas_channel import notify_deltas
from shared.store.quarantine import hold_call_alone

CHUNK_CALLS: Final = 1_000
CHUNK_ROWS: Final = 5_000
DELTAS_SECONDS: Final = 300
"""The deletion gives up when another process holds the organization's deltas for this long."""


@dataclass
class Deleted:
    """The rows of an organization that this run removed, by table, and the rows that are left."""

    organization_id: UUID
    name: str
    removed: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)

    def count(self, table: str, rows: int) -> None:
        self.removed[table] = self.removed.get(table, 0) + rows


def delete(
    organization_id: OrganizationArgument,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask to confirm by typing the organization's name.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete an organization permanently: calls, events, counts, keys, members, quarantined records.

    Its keys stop working first. From then on ingest drops its events and counts them as `deleted`: the
    organization does not come back, and its id cannot be used again. The audit log keeps its lines. One row
    in `deleted_calls` records the deletion.

    It works in small transactions while the services run: every count stays exact. It can be interrupted and
    run again. At the end it searches the tables for remaining rows. Kafka keeps its records until its own
    retention removes them, and backups keep theirs.

    Exit status: 0 when no row is left; 1 when rows are left, or when the deletion was not confirmed.
    """
    done = asyncio.run(_delete(state, organization_id, yes=yes, quiet=as_json))
    if as_json:
        print_json(asdict(done))
    else:
        for table, rows in done.removed.items():
            if rows:
                typer.echo(f"{rows:>12,} {'row' if rows == 1 else 'rows'} removed from {table}")
        if done.left:
            left = ", ".join(f"{counted(rows, 'row')} in {table}" for table, rows in done.left.items())
            typer.echo(f"NOT DELETED: organization {organization_id} still has {left}. Run it again.")
        else:
            typer.echo(f"DELETED: no table has a row of organization {organization_id}.")
    if done.left:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Adds this command to those of `org`."""
    app.command(cls=Command)(delete)


async def delete_organization(
    connection: Connection, done: Deleted, advance: Callable[[int, str], None], *, actor: str
) -> None:
    """Removes every row of the organization, and adds the numbers of removed rows to `done`.

    The connection must be in no transaction. `advance` takes the number of removed calls, and the position.
    Raises asyncpg's errors, and Failure when other processes hold the rows; earlier removals stay."""
    organization_id = done.organization_id
    await until_not_overtaken(lambda: _close(connection, done, actor))
    last: UUID | None = None
    while ids := await until_not_overtaken(partial(_remove_calls, connection, done, last)):
        last = ids[-1]
        advance(done.removed.get("calls", 0), f"{organization_id}/{last}")
    await _empty(connection, done, "call_events")
    while await until_not_overtaken(partial(_drop_pruned, connection, done)):
        pass
    await _apply_deltas(connection, organization_id)
    for table in (*_COUNTS, *_STATE_OF_COUNTS, "silent_calls", *_OF_SOURCES, *_OF_WEBHOOKS, "deleted_calls"):
        await _empty(connection, done, table)
    async for records in records_of(connection, organization_id):
        done.count("quarantined_records", await remove_records(connection, records))
    await until_not_overtaken(lambda: _remove_itself(connection, done, actor))


async def rows_left(connection: Connection, organization_id: UUID) -> dict[str, int]:
    """In one snapshot, the number of the organization's rows by table, without the audit log and the
    tombstone. Raises asyncpg's errors."""
    tombstone = organization_tombstone(organization_id)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        left = {
            table: await connection.fetchval(statement, organization_id, tombstone)
            for table, statement in _LEFT.items()
        }
        records = 0
        async for some in records_of(connection, organization_id):
            records += await count_content(connection, some)
    return {table: rows for table, rows in {**left, "quarantined_records": records}.items() if rows}


async def _delete(state: Path | None, organization_id: UUID, *, yes: bool, quiet: bool) -> Deleted:
    async with database(find_database(state), LONG_STATEMENT_SECONDS) as connection:
        tombstone = organization_tombstone(organization_id)
        found = await connection.fetchrow(_FIND, organization_id, tombstone)
        if found is None or (found["name"] is None and not found["is_deleted"]):
            raise Failure(
                f"There is no organization {organization_id}. "
                f"{suggestion('org', 'list', state=state)} lists the organizations."
            )
        done = Deleted(organization_id, found["name"] or "")
        calls = await connection.fetchval(_CALLS, organization_id)
        if not yes:
            _confirm(done, calls)
        with progress("calls", calls, quiet=quiet) as bar:
            await delete_organization(connection, done, bar.advance, actor=operator())
        done.left = await rows_left(connection, organization_id)
    return done


def _confirm(done: Deleted, calls: int) -> None:
    """Raises Failure unless the operator types the organization's name, or its id where it has no name."""
    if not sys.stdin.isatty():
        raise Failure("This deletion is permanent: confirm it with --yes, or run it in a terminal.")
    what = f"organization {done.organization_id} ({done.name or 'unnamed'}) with {counted(calls, 'call')}"
    expected = done.name or str(done.organization_id)
    typer.echo(f"This permanently deletes {what}.", err=True)
    if typer.prompt(f"Type {expected} to confirm", err=True).strip() != expected:
        raise Failure("Not confirmed: nothing was deleted.")


async def _close(connection: Connection, done: Deleted, actor: str) -> None:
    """The first transaction: after its commit, no client reads the organization, and ingest stores no event.

    It waits for the lock before it locks any row: ingest holds the lock, shared, at the end of each write."""
    organization_id = done.organization_id
    async with connection.transaction(isolation="read_committed"):
        # This lock comes first, in the order of the writers of bad records.
        await hold_call_alone(connection, organization_id, organization_tombstone(organization_id))
        try:
            await hold_on_each_server(connection, DAYS_LOCK, organization_id, seconds=LONG_STATEMENT_SECONDS)
        except NotEverywhere as reason:
            raise Failure(f"{reason}. Nothing was deleted.") from None
        await connection.execute(_TOMBSTONE, organization_id, organization_tombstone(organization_id))
        removed = await _remove_credentials(connection, organization_id)
        await connection.execute(_DISABLE_WEBHOOKS, organization_id)
        await audit(connection, "organization deletion begun", organization_id, actor=actor)
    for table, rows in removed.items():
        done.count(table, rows)


async def _remove_credentials(connection: Connection, organization_id: UUID) -> Mapping[str, int]:
    return {
        table: _rows(await connection.execute(statement, organization_id))
        for table, statement in _CREDENTIALS.items()
    }


async def _remove_calls(connection: Connection, done: Deleted, after: UUID | None) -> list[UUID]:
    """One small transaction that removes some calls with their events and writes their deltas."""
    async with connection.transaction(isolation="read_committed"):
        rows = await connection.fetch(_NEXT_CALLS, done.organization_id, after, CHUNK_CALLS)
        ids = [id_ for (id_,) in rows]
        if not ids:
            return []
        events = await drop_calls(connection, done.organization_id, ids)
        await notify_deltas(connection)
    done.count("calls", len(ids))
    done.count("call_events", events)
    return ids


async def _drop_pruned(connection: Connection, done: Deleted) -> int:
    """One small transaction that takes some pruned calls out of the counts, by deltas."""
    async with connection.transaction(isolation="read_committed"):
        rows: int = await connection.fetchval(_DROP_PRUNED, done.organization_id, CHUNK_ROWS)
        await notify_deltas(connection)
    done.count("pruned_call_counts", rows)
    return rows


async def _apply_deltas(connection: Connection, organization_id: UUID) -> None:
    """Adds the deltas to the counts, which are then zero. Waits for an aggregator that holds some of them,
    and raises Failure when it holds them for too long."""
    backoff = Backoff(longest_seconds=1)
    deadline = asyncio.get_running_loop().time() + DELTAS_SECONDS
    while await connection.fetchval(_HAS_DELTAS, organization_id):

        async def some() -> int:
            return await apply_deltas(connection, CHUNK_ROWS, organization_id)

        if await until_not_overtaken(some):
            backoff.reset()
        elif asyncio.get_running_loop().time() > deadline:
            raise Failure(
                f"Another process has held deltas of organization {organization_id} for {DELTAS_SECONDS} s. "
                "Its calls are deleted. Run the command again to remove the rest."
            )
        else:
            await backoff.wait(asyncio.Event())


async def _empty(connection: Connection, done: Deleted, table: str) -> None:
    """Removes the organization's rows of a table in chunks, but not its tombstone in `deleted_calls`."""
    kept = organization_tombstone(done.organization_id)

    async def some() -> int:
        return _rows(await connection.execute(_EMPTY[table], done.organization_id, CHUNK_ROWS, kept))

    while rows := await until_not_overtaken(some):
        done.count(table, rows)


async def _remove_itself(connection: Connection, done: Deleted, actor: str) -> None:
    """The last transaction: the organization's row, and keys that were made meanwhile."""
    organization_id = done.organization_id
    async with connection.transaction(isolation="read_committed"):
        removed = await _remove_credentials(connection, organization_id)
        await connection.execute(_DISABLE_WEBHOOKS, organization_id)
        rows = _rows(await connection.execute("DELETE FROM organizations WHERE id = $1", organization_id))
        details = ", ".join(f"{table} {rows}" for table, rows in done.removed.items() if rows)
        await audit(connection, "organization deleted", organization_id, details, actor=actor)
    done.count("organizations", rows)
    for table, rows in removed.items():
        done.count(table, rows)


def _rows(tag: str) -> int:
    """How many rows a DELETE removed, by PostgreSQL's command tag."""
    return int(tag.rpartition(" ")[2])


_FIND: Final = """
SELECT (SELECT name FROM organizations WHERE id = $1) AS name,
       EXISTS (SELECT FROM deleted_calls WHERE organization_id = $1 AND call_id = $2) AS is_deleted
"""

_CALLS: Final = "SELECT count(*) FROM calls WHERE organization_id = $1"

_TOMBSTONE: Final = """
INSERT INTO deleted_calls (organization_id, call_id) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""

_NEXT_CALLS: Final = """
SELECT id FROM calls WHERE organization_id = $1 AND ($2::uuid IS NULL OR id > $2)
ORDER BY id LIMIT $3 FOR UPDATE
"""

_DROP_PRUNED: Final = f"""
WITH dropped AS (
    DELETE FROM pruned_call_counts
    WHERE organization_id = $1 AND ctid = ANY (ARRAY(
        SELECT ctid FROM pruned_call_counts WHERE organization_id = $1 LIMIT $2 FOR UPDATE))
    RETURNING *
), written AS (
    {TAKE_AWAY} FROM dropped
)
SELECT count(*) FROM dropped
"""

_CREDENTIALS: Final = {
    "api_keys": "DELETE FROM api_keys WHERE organization_id = $1",
    "members": "DELETE FROM members WHERE organization_id = $1",
}

_DISABLE_WEBHOOKS: Final = "UPDATE webhooks SET enabled = false WHERE organization_id = $1"

_COUNTS: Final = ("daily_call_counts", "daily_call_totals")
_STATE_OF_COUNTS: Final = ("count_days", "count_versions")
_OF_SOURCES: Final = ("source_calls", "phone_numbers")
_OF_WEBHOOKS: Final = ("webhook_deliveries", "webhook_messages", "webhooks")

_EMPTY: Final = {
    table: f"""
    DELETE FROM {table}
    WHERE organization_id = $1 AND ctid = ANY (ARRAY(
        SELECT ctid FROM {table} WHERE organization_id = $1 AND {condition} LIMIT $2))
    """
    for table, condition in {
        **dict.fromkeys(
            ("call_events", *_COUNTS, *_STATE_OF_COUNTS, "silent_calls", *_OF_SOURCES, *_OF_WEBHOOKS),
            "$3::uuid IS NOT NULL",
        ),
        "deleted_calls": "call_id <> $3",
    }.items()
}
"""Deletes some rows of an organization, but not the tombstone $3 of the organization itself."""

_HAS_DELTAS: Final = "SELECT EXISTS (SELECT FROM daily_call_deltas WHERE organization_id = $1)"

_LEFT: Final = {
    "organizations": "SELECT count(*) FROM organizations WHERE id = $1 AND $2::uuid IS NOT NULL",
    "deleted_calls": "SELECT count(*) FROM deleted_calls WHERE organization_id = $1 AND call_id <> $2",
    **{
        table: f"SELECT count(*) FROM {table} WHERE organization_id = $1 AND $2::uuid IS NOT NULL"
        for table in (
            "api_keys",
            "members",
            "calls",
            "call_events",
            "daily_call_counts",
            "daily_call_totals",
            "daily_call_deltas",
            "pruned_call_counts",
            "silent_calls",
            *_STATE_OF_COUNTS,
            *_OF_SOURCES,
            *_OF_WEBHOOKS,
        )
    },
}
