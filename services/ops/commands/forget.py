"""`callfold forget`: deletes the calls from and to a phone number, for a person's erasure request."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from services.ops.commands.command_connection import LONG_STATEMENT_SECONDS, operating
from services.ops.repair.quarantine_search import records_of, remove_records
from services.ops.repair.retry_overtaken import until_not_overtaken
from services.ops.terminal.failure import Failure
from services.ops.terminal.operator import audit, operator
from services.ops.terminal.options import DryRunOption, JsonOption, OrganizationOption, StateOption
from services.ops.terminal.printing import counted, minute, mode, print_json, print_table
from services.ops.terminal.progress_bar import Bar, progress
from shared.database.connection import Connection
from shared.store.delete import delete

CHUNK_CALLS: Final = 500
SCANNED_CALLS: Final = 20_000
LISTED_CALLS: Final = 10_000
NUMBER_LETTERS_MAX: Final = 256
DIGITS_LEAST: Final = 5
"""A shorter number, such as an extension, has no other spellings."""
SEPARATORS: Final = " ()[]./-\t\u00a0\u2009\u202f\u2010\u2011\u2012\u2013"
"""Separators within a number, including the spaces and dashes of typesetting."""
NOT_SEARCHED: Final = (
    "Not searched: transcripts, recordings and stored events of other calls, recordings outside of callfold, "
    "Kafka's topic, and backups."
)


@dataclass
class Forgotten:
    """The result of a run. `calls` are the first of the calls that it found."""

    organization_id: UUID
    dry_run: bool
    calls_found: int = 0
    calls_deleted: int = 0
    quarantined_found: int = 0
    quarantined_removed: int = 0
    other_spellings: dict[str, int] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)


def forget(
    organization_id: OrganizationOption,
    number: Annotated[
        list[str],
        typer.Option(
            "--number",
            metavar="NUMBER",
            help="The number exactly as the calls have it, such as +441632960011. Repeatable, for other "
            "spellings.",
            show_default=False,
        ),
    ],
    other_spellings: Annotated[
        bool,
        typer.Option(
            "--other-spellings",
            help="Also delete calls whose number differs only in blanks, brackets, dashes, dots, a plus or "
            "00, or the rest of a SIP or tel URI. Default: only report them.",
        ),
    ] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Also remove quarantined records that have the number.")
    ] = False,
    dry_run: DryRunOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete every call from or to a phone number in one organization, live and test.

    Each call is deleted permanently, as by the API: with its events, transcript and recording link, from
    every count, and with an audit line. The audit log does not store the number. The command can be run
    again. A later call with the number is stored: run the command again then.

    Exit status: 0 when every requested deletion was made; 1 otherwise.
    """
    numbers = _read_numbers(number)
    done = asyncio.run(
        _forget(
            state,
            Forgotten(organization_id, dry_run),
            numbers,
            other_spellings=other_spellings,
            quarantine=quarantine,
            quiet=as_json,
        )
    )
    if as_json:
        print_json({**asdict(done), "not_searched": NOT_SEARCHED})
    else:
        _print(done, other_spellings=other_spellings, quarantine=quarantine)


def _read_numbers(numbers: Sequence[str]) -> list[str]:
    """The numbers as given. Raises Failure for a number that no call can have."""
    for number in numbers:
        if not number.strip() or len(number) > NUMBER_LETTERS_MAX or "\0" in number:
            raise Failure(f"--number must have 1 to {NUMBER_LETTERS_MAX} characters.")
    return list(dict.fromkeys(numbers))


def _print(done: Forgotten, *, other_spellings: bool, quarantine: bool) -> None:
    if done.dry_run and done.calls:
        fields = ("direction", "status", "from_number", "to_number")
        rows = [
            (call["id"], mode(call["livemode"]), minute(call["created_at"]), *(call[name] for name in fields))
            for call in done.calls
        ]
        print_table(["call", "mode", "created (UTC)", "direction", "status", "from", "to"], rows)
    if done.dry_run:
        typer.echo(f"{counted(done.calls_found, 'call')} would be deleted.")
    else:
        typer.echo(f"{counted(done.calls_deleted, 'call')} deleted.")
    for spelling, calls in () if other_spellings else done.other_spellings.items():
        typer.echo(
            f"{counted(calls, 'call')} with the spelling {spelling} kept: --other-spellings deletes them."
        )
    if quarantine:
        records = done.quarantined_found if done.dry_run else done.quarantined_removed
        typer.echo(f"{counted(records, 'quarantined record')} {'would be ' if done.dry_run else ''}removed.")
    elif done.quarantined_found:
        have = "has" if done.quarantined_found == 1 else "have"
        typer.echo(
            f"{counted(done.quarantined_found, 'quarantined record')} {have} the number: --quarantine "
            "removes them."
        )
    typer.echo(NOT_SEARCHED)


async def _forget(
    state: Path | None,
    done: Forgotten,
    numbers: list[str],
    *,
    other_spellings: bool,
    quarantine: bool,
    quiet: bool,
) -> Forgotten:
    async with operating(state, done.organization_id, statement_seconds=LONG_STATEMENT_SECONDS) as connection:
        done.other_spellings = await _other_spellings(connection, done.organization_id, numbers)
        if other_spellings:
            numbers = [*numbers, *done.other_spellings]
        actor = operator()
        if not done.dry_run:
            await audit(connection, "calls of a number deleted: begun", done.organization_id, actor=actor)
        with progress("calls", None, quiet=quiet) as bar:
            await _delete_calls(connection, done, numbers, actor, bar)
        async for records in records_of(connection, done.organization_id, numbers):
            done.quarantined_found += len(records)
            if quarantine and not done.dry_run:
                done.quarantined_removed += await remove_records(connection, records)
        if not done.dry_run:
            details = (
                f"{counted(done.calls_deleted, 'call')}, "
                f"{counted(done.quarantined_removed, 'quarantined record')}"
            )
            await audit(connection, "calls of a number deleted", done.organization_id, details, actor=actor)
    return done


async def _delete_calls(
    connection: Connection, done: Forgotten, numbers: Sequence[str], actor: str, bar: Bar
) -> None:
    """Deletes the calls one by one until none is left, including those that arrive meanwhile. A dry run only
    reads them."""
    after: UUID | None = None
    while rows := await connection.fetch(_CALLS, done.organization_id, numbers, after, CHUNK_CALLS):
        done.calls_found += len(rows)
        if done.dry_run:
            done.calls += [dict(row) for row in rows][: LISTED_CALLS - len(done.calls)]
            after = rows[-1]["id"]
            continue
        for row in rows:
            one = partial(
                delete,
                connection,
                done.organization_id,
                row["id"],
                livemode=row["livemode"],
                actor=actor,
            )
            done.calls_deleted += await until_not_overtaken(one)
            bar.advance(done.calls_deleted)


async def _other_spellings(
    connection: Connection, organization_id: UUID, numbers: Sequence[str]
) -> dict[str, int]:
    """The other spellings of these numbers in the organization's calls, with the number of calls of each.

    Reads all calls of the organization in chunks."""
    patterns = [
        f"(^|[^0-9])(00)?{digits}([^0-9]|$)"
        for digits in dict.fromkeys(map(_digits, numbers))
        if len(digits) >= DIGITS_LEAST
    ]
    found: Counter[str] = Counter()
    after: UUID | None = None
    while patterns:
        rows = await connection.fetch(
            _SPELLINGS, organization_id, after, SCANNED_CALLS, patterns, numbers, SEPARATORS
        )
        found.update({row["spelling"]: row["calls"] for row in rows if row["spelling"] is not None})
        after = rows[0]["last"]
        if after is None:
            break
    return dict(found)


def _digits(number: str) -> str:
    """The digits of a number with its country code, without a leading 00."""
    digits = "".join(letter for letter in number if letter in "0123456789")
    return digits.removeprefix("00")


_COLUMNS: Final = "id, livemode, created_at, direction, status, from_number, to_number"

# Each of the two numbers has an index that begins with the organization and the mode.
_CALLS: Final = f"""
SELECT {_COLUMNS} FROM (
    SELECT {_COLUMNS} FROM calls
    WHERE organization_id = $1 AND livemode IN (false, true) AND from_number = ANY($2::text[])
    UNION
    SELECT {_COLUMNS} FROM calls
    WHERE organization_id = $1 AND livemode IN (false, true) AND to_number = ANY($2::text[])
) AS found
WHERE $3::uuid IS NULL OR id > $3 ORDER BY id LIMIT $4
"""

_SPELLINGS: Final = """
WITH scanned AS (
    SELECT id, from_number, to_number FROM calls
    WHERE organization_id = $1 AND ($2::uuid IS NULL OR id > $2)
    ORDER BY id LIMIT $3
), other AS (
    SELECT DISTINCT id, spelling
    FROM scanned, unnest(ARRAY[from_number, to_number]) AS number(spelling)
    WHERE translate(spelling, $6, '') ~ ANY($4::text[])
        AND spelling <> ALL($5::text[])
)
SELECT whole.last, other.spelling, other.calls
FROM (SELECT (SELECT id FROM scanned ORDER BY id DESC LIMIT 1) AS last) AS whole
LEFT JOIN (SELECT spelling, count(*) AS calls FROM other GROUP BY spelling) AS other ON true
ORDER BY other.spelling
"""
