"""`callfold number`: an organization's phone numbers, which give calls their number's id and direction."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID, uuid5

import typer

from services.ops.commands.command_connection import LONG_STATEMENT_SECONDS, operating
from services.ops.repair.number_application import apply_numbers
from services.ops.sources.numbers import GivenNumber, is_number, read_numbers
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import audit, operator
from services.ops.terminal.options import JsonOption, OrganizationOption, StateOption, read_uuid
from services.ops.terminal.plain_help import Command, Group
from services.ops.terminal.printing import counted, minute, print_json, print_table
from shared.database.connection import Connection
from shared.store.sources import NUMBERS_MAX

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Add, list and remove the phone numbers of an organization."
)
LISTED_MAX: Final = 100_000
FAULTS_SHOWN: Final = 10
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
        help="A CSV file with a number per line, and its id in the second column if it has one. A first line "
        "with `number`, and perhaps `id`, names the columns. - is standard input.",
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
    is outbound. With --apply, stored calls without a number's id get it, and the counts follow. If one of
    them is no number that a call can have, none is added.
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
    """Remove numbers. Stored calls keep their number's id.

    Exit status: 0 when the organization had all of them; 1 otherwise. The others are removed all the same.
    """
    given = list(dict.fromkeys(one.number for one in _all(numbers, file)))
    removed = asyncio.run(_remove(state, organization_id, given))
    unknown = [number for number in given if number not in removed]
    if as_json:
        print_json({"removed": len(removed), "unknown": unknown})
    else:
        typer.echo(f"Removed {counted(len(removed), 'number')}.")
    if unknown:
        more = f" and {len(unknown) - FAULTS_SHOWN:,} more" if len(unknown) > FAULTS_SHOWN else ""
        raise Failure(f"The organization does not have {', '.join(unknown[:FAULTS_SHOWN])}{more}.")


def _given(
    numbers: Sequence[str] | None, number_id: str | None, file: str | None, organization_id: UUID
) -> dict[str, UUID]:
    """The numbers to add, with their ids. Raises Failure with all faults, and the line of each."""
    given = _all(numbers, file)
    if number_id is not None:
        if len(given) != 1:
            raise Failure("--id needs exactly one number; several ids come from a file with --csv.")
        given = [given[0]._replace(id=number_id)]
    found: dict[str, UUID] = {}
    faults: list[str] = []
    for one in given:
        try:
            id_ = _checked(one, organization_id)
            if found.setdefault(one.number, id_) != id_:
                raise Failure(f"{one.place}the number {one.number} is given before with another id.")
        except Failure as fault:
            faults.append(str(fault))
    if faults:
        more = len(faults) - FAULTS_SHOWN
        raise Failure("\n".join([*faults[:FAULTS_SHOWN], *([f"{more:,} more lines."] if more > 0 else [])]))
    return found


def _all(numbers: Sequence[str] | None, file: str | None) -> list[GivenNumber]:
    given = [GivenNumber(number) for number in numbers or ()]
    if file is not None:
        given += read_numbers(file)
    if not given:
        raise Failure("Name at least one NUMBER, or a file with --csv.")
    return given


def _checked(one: GivenNumber, organization_id: UUID) -> UUID:
    """The id of a number that a call can have. Raises Failure."""
    if not is_number(one.number):
        raise Failure(
            f"{one.place}{one.number[:60]!r} is no number of a call: an E.164 number such as +15550100, an "
            "extension such as 101, or a SIP user or address without spaces."
        )
    return read_uuid(one.id, f"{one.place}the id") if one.id else uuid5(organization_id, one.number)


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


async def _remove(state: Path | None, organization_id: UUID, numbers: Sequence[str]) -> set[str]:
    async with operating(state, organization_id) as connection:
        return await _removed(connection, organization_id, numbers)


async def _removed(connection: Connection, organization_id: UUID, numbers: Sequence[str]) -> set[str]:
    async with connection.transaction():
        gone = {number for (number,) in await connection.fetch(_REMOVE, organization_id, numbers)}
        if gone:
            await audit(connection, "numbers removed", organization_id, counted(len(gone), "number"))
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
