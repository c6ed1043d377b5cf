"""`callfold notes`: the stored events that lack a field, because its value had no clear meaning."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from services.ops.commands.command_connection import operating
from services.ops.terminal.failure import Failure
from services.ops.terminal.options import JsonOption, OnlyOrganizationOption, StateOption
from services.ops.terminal.printing import print_json, print_table
from shared.calls.event import READ_FIELDS

LIST_MAX: Final = 10_000


def notes(
    organization_id: OnlyOrganizationOption = None,
    field: Annotated[
        str | None,
        typer.Option(
            "--field",
            metavar="FIELD",
            help="Only events that lack this field, such as data.duration. Default: any field.",
            show_default=False,
        ),
    ] = None,
    by_field: Annotated[
        bool, typer.Option("--by-field", help="Print the number of events per field and rule instead.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=LIST_MAX, help="The largest number of events, or of fields, to list.")
    ] = 50,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the stored events that lack a field.

    An event is stored when it names its call and its time. Ingest leaves out a field that has no clear
    meaning, such as a negative duration, and adds a note with the reason. The payload stays as it was sent:
    `GET /calls/{id}/events` returns it.
    """
    if field is not None and field not in READ_FIELDS:
        raise Failure(f"--field must be one of {', '.join(READ_FIELDS)}, not {field!r}.")
    found = asyncio.run(_notes(state, organization_id, field, limit, by_field=by_field))
    if as_json:
        print_json(found)
    elif by_field:
        rows = [(one["events"], one["field"], one["rule"]) for one in found]
        print_table(["events", "field", "rule"], rows)
    else:
        columns = ["organization", "call", "event", "type", "happened (UTC)", "notes"]
        lines = [
            (
                one["organization_id"],
                one["call_id"],
                one["id"],
                one["type"],
                f"{one['occurred_at']:%Y-%m-%d %H:%M:%S}",
                "\n".join(one["notes"]),
            )
            for one in found
        ]
        print_table(columns, lines)


async def _notes(
    state: Path | None, organization_id: UUID | None, field: str | None, limit: int, *, by_field: bool
) -> list[dict[str, Any]]:
    async with operating(state, organization_id) as connection:
        statement = _BY_FIELD if by_field else _EVENTS
        return [dict(row) for row in await connection.fetch(statement, organization_id, field, limit)]


# A note begins with its field, up to the first colon, and ends with the action taken.
_EVENTS: Final = """
SELECT organization_id, call_id, id, type, occurred_at, notes FROM call_events
WHERE notes IS NOT NULL AND ($1::uuid IS NULL OR organization_id = $1)
    AND ($2::text IS NULL OR EXISTS (SELECT FROM unnest(notes) AS note WHERE split_part(note, ':', 1) = $2))
ORDER BY organization_id, call_id, id LIMIT $3
"""

_BY_FIELD: Final = """
SELECT count(*) AS events, split_part(note, ':', 1) AS field,
       substr(note, length(split_part(note, ':', 1)) + 3) AS rule
FROM call_events, unnest(notes) AS note
WHERE notes IS NOT NULL AND ($1::uuid IS NULL OR organization_id = $1)
    AND ($2::text IS NULL OR split_part(note, ':', 1) = $2)
GROUP BY 2, 3 ORDER BY events DESC, field, rule LIMIT $3
"""
