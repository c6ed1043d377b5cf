"""`callfold number`: an organization's phone numbers, which give calls their number's id and direction."""

import asyncio
import csv
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID, uuid5

import typer

from services.ops.commands.command_connection import LONG_STATEMENT_SECONDS, operating
from services.ops.repair.number_application import apply_numbers
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import audit, operator
from services.ops.terminal.options import JsonOption, OrganizationOption, StateOption, read_uuid
from services.ops.terminal.plain_help import Command, Group
from services.ops.terminal.printing import counted, minute, print_json, print_table
from shared.calls.event import NUMBER_LENGTH_MAX
from shared.database.connection import Connection
from shared.store.sources import NUMBERS_MAX

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Add, list and remove the phone numbers of an organization."
)
LISTED_MAX: Final = 100_000
NumbersArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NUMBER", help="Numbers exactly as the source's calls have them.", show_default=False
    ),
]
CsvOption = Annotated[
    str | None,
    typer.Option(
        "--csv",
        metavar="FILE",
        help="A CSV file with a number per line, and its id in the second column if it has one; - is "
        "standard input.",
        show_default=False,
    ),
]


@app.command(cls=Command)
def add(
    organization_id: OrganizationOption,
    numbers: NumbersArgument = None,
    number_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="UUID",
            help="The id of the one number. Default: derived from organization and number.",
            show_default=False,
        ),
    ] = None,
    file: CsvOption = None,
    apply: Annotated[
        bool,
        typer.Option(
            "--apply", help="Also apply the numbers to stored calls. Default: only later deliveries."
        ),
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add numbers. Ingest uses them within seconds.

    A call to such a number gets its id, and is inbound where the source gives no direction. A call from it
    is outbound. With --apply, stored calls without a number's id get it, and the counts follow.
    """
    given = _given(numbers, number_id, file, organization_id)
    done = asyncio.run(_add(state, organization_id, given, apply=apply))
    if as_json:
        print_json(done)
        return
    typer.echo(f"Added {counted(done['added'], 'number')}.")
    if apply:
        typer.echo(f"Changed {counted(done['changed_calls'], 'call')}.")


@app.command("list", cls=Command)
def list_numbers(
    organization_id: OrganizationOption, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """List an organization's numbers."""
    found = asyncio.run(_list(state, organization_id))
    if as_json:
        print_json(found)
        return
    print_table(
        ["number", "phone number id", "added (UTC)"],
        [(one["number"], one["phone_number_id"], minute(one["created_at"])) for one in found],
    )


@app.command(cls=Command)
def remove(
    organization_id: OrganizationOption,
    numbers: NumbersArgument = None,
    file: CsvOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove numbers. Stored calls keep their number's id."""
    given = _given(numbers, None, file, organization_id)
    removed = asyncio.run(_remove(state, organization_id, list(given)))
    if as_json:
        print_json({"removed": removed})
        return
    typer.echo(f"Removed {counted(removed, 'number')}.")


def _given(
    numbers: Sequence[str] | None, number_id: str | None, file: str | None, organization_id: UUID
) -> dict[str, UUID]:
    """The numbers with their ids. Raises Failure."""
    rows: list[tuple[str, str | None]] = [(number, None) for number in numbers or ()]
    if file is not None:
        rows += _rows(file)
    if not rows:
        raise Failure("Name at least one NUMBER, or a file with --csv.")
    if number_id is not None:
        if len(rows) != 1:
            raise Failure("--id needs exactly one number; several ids come from a file with --csv.")
        rows = [(rows[0][0], number_id)]
    found: dict[str, UUID] = {}
    for number, id_ in rows:
        if not number or len(number) > NUMBER_LENGTH_MAX or "\0" in number:
            raise Failure(f"A number must have 1 to {NUMBER_LENGTH_MAX} characters, not {number[:60]!r}.")
        found[number] = read_uuid(id_, "A number's id") if id_ else uuid5(organization_id, number)
    return found


def _rows(file: str) -> Iterable[tuple[str, str | None]]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Failure(f"Cannot read {file}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Failure(f"{file} is not UTF-8.") from None
    for row in csv.reader(text.splitlines()):
        cells = [cell.strip() for cell in row]
        if cells and cells[0] and cells[0].lower() != "number":
            yield cells[0], (cells[1] or None) if len(cells) > 1 else None


async def _add(
    state: Path | None, organization_id: UUID, given: dict[str, UUID], *, apply: bool
) -> dict[str, int]:
    seconds = LONG_STATEMENT_SECONDS
    async with operating(state, organization_id, statement_seconds=seconds) as connection:
        async with connection.transaction():
            known = await connection.fetchval("SELECT count(*) FROM phone_numbers")
            if known + len(given) > NUMBERS_MAX:
                raise Failure(f"There would be more than {NUMBERS_MAX:,} numbers, which is the limit.")
            await connection.execute(_ADD, organization_id, list(given), list(given.values()))
            await audit(connection, "numbers added", organization_id, counted(len(given), "number"))
        done = {"added": len(given)}
        if apply:
            now = datetime.now(UTC)
            await audit(connection, "numbers applied", organization_id, counted(len(given), "number"))
            done["changed_calls"] = await apply_numbers(
                connection, organization_id, list(given), now, operator()
            )
    return done


async def _list(state: Path | None, organization_id: UUID) -> list[dict[str, Any]]:
    async with operating(state, organization_id) as connection:
        return [dict(row) for row in await connection.fetch(_LIST, organization_id, LISTED_MAX)]


async def _remove(state: Path | None, organization_id: UUID, numbers: Sequence[str]) -> int:
    async with operating(state, organization_id) as connection:
        return await _removed(connection, organization_id, numbers)


async def _removed(connection: Connection, organization_id: UUID, numbers: Sequence[str]) -> int:
    async with connection.transaction():
        gone = len(await connection.fetch(_REMOVE, organization_id, numbers))
        await audit(connection, "numbers removed", organization_id, counted(gone, "number"))
    return gone


_ADD: Final = """
INSERT INTO phone_numbers (organization_id, number, phone_number_id)
SELECT $1, number, id FROM unnest($2::text[], $3::uuid[]) AS given(number, id)
ON CONFLICT (organization_id, number) DO UPDATE SET phone_number_id = excluded.phone_number_id
"""

_LIST: Final = """
SELECT number, phone_number_id, created_at FROM phone_numbers WHERE organization_id = $1
ORDER BY number LIMIT $2
"""

_REMOVE: Final = """
DELETE FROM phone_numbers WHERE organization_id = $1 AND number = ANY($2::text[]) RETURNING number
"""
